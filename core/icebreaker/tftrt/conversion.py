"""Converts for TF-TRT's calls, in the process that calls, and makes the result live there."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from icebreaker import events
from icebreaker.conversion import pipeline
from icebreaker.formats import graph_files
from icebreaker.formats.saved_model import reader as saved_model_format
from icebreaker.formats.saved_model.signatures import Frozen
from icebreaker.graph.graph import Graph
from icebreaker.jobs import requests, supervisor
from icebreaker.reports import Conversion, Left, Words
from icebreaker.runtime import loader
from icebreaker.settings import Consent, ConvertSettings
from icebreaker.storage.files import write_whole
from icebreaker.tensors import Tensor
from icebreaker.tf.rewrite import to_tensorflow
from icebreaker.tftrt.arguments import BadArgument, ConversionWarning

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Optimized:
    """What a conversion made.

    Attributes:
        definition: TensorFlow's GraphDef, live in this process.
        report: What there is to tell of it.
    """

    definition: Any
    report: Conversion


def optimized(graph: Graph, settings: ConvertSettings, consent: Consent) -> Optimized:
    """Converts and makes the result live."""
    if settings.memory_fraction is not None:
        return _in_worker(graph, settings, consent)
    definition, runners, report = pipeline.optimize(graph, settings, consent)
    warn(report.warnings, len(report.segments), report.left_in_tensorflow)
    return Optimized(loader.live(definition, runners), report)


def _in_worker(graph: Graph, settings: ConvertSettings, consent: Consent) -> Optimized:
    with tempfile.TemporaryDirectory(prefix="icebreaker-") as name:
        folder = Path(name)
        write_whole(folder / "graph.pb", graph.definition.SerializeToString())
        model, output = str(folder / "graph.pb"), str(folder / "made.pb")
        request = requests.Convert(model=model, output=output, settings=settings, consent=consent)
        report = supervisor.run(request, _to_log)
        definition = to_tensorflow(graph_files.read_definition(folder / "made.pb"))
        for node in definition.node:  # the files go with the folder
            if "_icebreaker_file" in node.attr:
                node.attr["_icebreaker_payload"].s = (folder / node.attr["_icebreaker_file"].s.decode()).read_bytes()
                del node.attr["_icebreaker_file"]
    warn(report.warnings, len(report.segments), report.left_in_tensorflow)
    return Optimized(loader.live(definition), report)


def warn(texts: Iterable[Words], segments: int, left: Iterable[Left]) -> None:
    """Warns of what a conversion has to say, and with reasons if nothing went to engines."""
    if not segments:
        reasons = Counter(str(item.reason) for item in left if item.code != "passive")
        words = "; ".join(f"{reason} ({count} nodes)" for reason, count in reasons.most_common(5))
        texts = [f"no segment went to an engine: {words}"]
    for text in texts:
        warnings.warn(str(text), ConversionWarning, stacklevel=4)


def _to_log(event: events.Event) -> None:
    if isinstance(event, events.Log):
        _log.log(logging.getLevelNamesMapping().get(event.level.upper(), logging.INFO), str(event.text))


def memory_fraction(session_config: Any) -> float | None:
    """The share of the GPU's memory that a ConfigProto gives TensorFlow."""
    fraction = getattr(getattr(session_config, "gpu_options", None), "per_process_gpu_memory_fraction", 0.0)
    return fraction or None  # 0 is what a ConfigProto has where nothing was set


@dataclass(frozen=True)
class Source:
    """A SavedModel's signature that is converted.

    Attributes:
        graph: It, frozen.
        inputs: What the signature calls its inputs → name in the graph, sorted by what it calls them.
        outputs: The same of its outputs.
        frozen: What the SavedModel says.
    """

    graph: Graph
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    frozen: Frozen


def saved_model(folder: str, tags: Sequence[str] | None, signature: str | None, allow_side_effects: bool) -> Source:
    """Reads a signature of a SavedModel.

    Raises:
        BadArgument: There is no SavedModel, or none with these tags.
        IcebreakerError: It cannot be read.
    """
    path = Path(folder)
    if not (path.is_dir() and saved_model_format.matches(path)):
        raise BadArgument(
            "no_saved_model", "input_saved_model_dir {subject} has no saved_model.pb", "give_saved_model_folder",
            subject=folder,
        )  # fmt: skip
    graph, frozen = graph_files.read_model(path, allow_side_effects, signature=signature or "")
    assert frozen is not None  # noqa: S101 - it is a SavedModel
    if tags is not None and set(tags) != set(frozen.tags):
        raise BadArgument(
            "tags_unknown", "input_saved_model_tags {tags} are not those of {subject}: {known}",
            subject=folder, tags=str(list(tags)), known=str(list(frozen.tags)),
        )  # fmt: skip
    inputs = {item.key: item.tensor for item in frozen.signature.inputs if Tensor.parse(item.tensor).node in graph}
    outputs = {item.key: item.tensor for item in frozen.signature.outputs}
    graph = Graph(to_tensorflow(graph.definition), graph.store)
    return Source(graph, dict(sorted(inputs.items())), dict(sorted(outputs.items())), frozen)
