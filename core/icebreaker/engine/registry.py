"""Which engines there are, and what each says of this machine.

Adding an engine is one module with a subclass of `protocol.Engine`, and one line in `BUILT_IN`. An engine that is not
part of Icebreaker is named as `module:Class` in an entry point of the group `icebreaker.engines`, or in the environment
variable `ICEBREAKER_ENGINES` (several with commas), which the worker processes of jobs inherit; `register` makes one
known to this process alone. Asking for a class loads no vendor library.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import logging
import os
from collections.abc import Mapping

from icebreaker import gpu
from icebreaker.engine.protocol import Engine
from icebreaker.errors import IcebreakerError
from icebreaker.reports import EngineStatus, Machine
from icebreaker.storage import crash_journal

# In the order in which they are offered and tried.
BUILT_IN = (
    "icebreaker.engine.openvino:OpenVINO",
    "icebreaker.engine.onnxruntime:OnnxRuntime",
    "icebreaker.engine.tensorrt.engine:TensorRT",
    "icebreaker.engine.tensorrt.rtx:TensorRTRTX",
    "icebreaker.engine.xla.engine:XLA",
)
ENTRY_POINTS = "icebreaker.engines"
VARIABLE = "ICEBREAKER_ENGINES"

_log = logging.getLogger(__name__)
_classes: dict[str, type[Engine]] = {}  # by name, in order
_unusable: dict[str, str] = {}  # `module:Class` of a plug-in → why it could not be imported
_is_filled = False


def register(engine: type[Engine]) -> type[Engine]:
    """Makes an engine known to this process; usable as a decorator. One of the same name is replaced, in its place."""
    _fill()
    _classes[engine.name] = engine
    return engine


def unregister(name: str) -> None:
    """Takes an engine out again, in this process."""
    _fill()
    _classes.pop(name, None)


def names() -> tuple[str, ...]:
    """The names of all engines."""
    _fill()
    return tuple(_classes)


def all_engines() -> Mapping[str, type[Engine]]:
    """Engine name → class, of all engines."""
    _fill()
    return dict(_classes)


def find(name: str) -> type[Engine] | None:
    """The class of an engine; None if there is none of that name, as in a graph that was optimized elsewhere."""
    _fill()
    return _classes.get(name)


def get(name: str) -> Engine:
    """The engine of that name; asking for it loads no vendor library yet.

    Raises:
        IcebreakerError: There is none.
    """
    engine = find(name)
    if engine is None:
        raise _unknown(name)
    return engine()


def require(name: str) -> None:
    """Checks the `engine` of settings: a name, or `auto`.

    Raises:
        IcebreakerError: There is no such engine.
    """
    if name != "auto" and find(name) is None:
        raise _unknown(name)


def chosen(name: str) -> tuple[type[Engine], ...]:
    """The engines that the `engine` of settings stands for: one, or with `auto` all. Raises what `require` does."""
    require(name)
    return tuple(_classes.values()) if name == "auto" else (_classes[name],)


def title(name: str) -> str:
    """What users read for an engine's name; the name itself if nothing is known of it."""
    engine = find(name)
    return engine.title if engine else name


def status(name: str) -> EngineStatus:
    """What an engine says of this machine; one that has crashed the process when it was asked counts as absent."""
    attempt = crash_journal.Attempt(name, crash_journal.key("status", name), lasting=False)
    if why := crash_journal.reason(attempt):
        return EngineStatus(name, False, False, why)
    with crash_journal.step(f"asking {name}", [attempt]):
        return get(name).status()


def machine() -> Machine:
    """What every engine says of this machine, and its NVIDIA GPU."""
    device = gpu.find()
    unusable = (EngineStatus(place, builds=False, runs=False, detail=why) for place, why in _unusable.items())
    return Machine(
        (*map(status, names()), *unusable),
        gpu=device.name if device else "",
        gpu_memory_bytes=device.memory_bytes if device else 0,
    )


def _unknown(name: str) -> IcebreakerError:
    return IcebreakerError(
        "engine_unknown", "engine {subject!r} is unknown", "choose_from", subject=name, choices=("auto", *_classes)
    )


def _fill() -> None:
    """Imports the classes of all engines, once: when the first is asked for."""
    global _is_filled
    if _is_filled:
        return
    _is_filled = True
    for place in BUILT_IN:
        _add(_imported(place))
    plug_ins = [item.value for item in importlib.metadata.entry_points(group=ENTRY_POINTS)]
    plug_ins += filter(None, map(str.strip, os.environ.get(VARIABLE, "").split(",")))
    for place in dict.fromkeys(plug_ins):
        try:
            _add(_imported(place))
        except Exception as error:  # a stranger's code: what it lacks must not take the others away
            _unusable[place] = f"it cannot be imported: {type(error).__name__}: {error}"
            _log.warning("engine %s is left out: %s", place, _unusable[place])


def _imported(place: str) -> type[Engine]:
    """The class at `module:Class`."""
    module, _, attribute = place.partition(":")
    found = getattr(importlib.import_module(module), attribute)
    if not (isinstance(found, type) and issubclass(found, Engine)):
        raise TypeError(f"{place} is no subclass of icebreaker.engine.protocol.Engine")
    return found


def _add(engine: type[Engine]) -> None:
    _classes[engine.name] = engine
