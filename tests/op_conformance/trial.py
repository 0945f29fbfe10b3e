"""One op, or a few, through the product's own conversion with one engine, in this process, compared with TensorFlow."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import tensorflow as tf

from icebreaker.conversion import pipeline
from icebreaker.engine.protocol import GivesWay
from icebreaker.errors import IcebreakerError
from icebreaker.graph.graph import Graph
from icebreaker.runtime.engine_node import EngineWarning
from icebreaker.runtime.model import Model
from icebreaker.settings import ConvertSettings

Feeds = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Outcome:
    """What an engine makes of a set of values, and a word on it.

    One of `right`, `gave way`, `denormal`, `wrong`, `answers`, `fails`.

    `gave way`: the call went to TensorFlow for its values. `answers`: TensorFlow raises, the engine does not.
    """

    kind: str
    told: str = ""


@dataclass(frozen=True)
class Trial:
    """What came of a graph: the share of its ops that are in the engine, why the others are not, and how calls went."""

    coverage: float
    reasons: tuple[str, ...]
    outcomes: tuple[Outcome, ...]


class Original:
    """A graph in plain TensorFlow, and what it gives."""

    def __init__(self, definition: Any, outputs: Sequence[str]) -> None:
        """Opens a session that runs it as it stands."""
        self.definition, self.outputs = definition, tuple(outputs)
        graph = tf.Graph()
        with graph.as_default():
            tf.import_graph_def(definition, name="")
        config = tf.compat.v1.ConfigProto()
        config.graph_options.rewrite_options.disable_meta_optimizer = True
        self._session = tf.compat.v1.Session(graph=graph, config=config)

    def __call__(self, feeds: Feeds) -> list[np.ndarray] | str:
        """The outputs; or what TensorFlow raises, in a line."""
        try:
            found = self._session.run(
                [f"{name}:0" if ":" not in name else name for name in self.outputs],
                {f"{name}:0": value for name, value in feeds.items()},
            )
        except (tf.errors.OpError, ValueError) as error:
            return str(error).splitlines()[0][:200]
        return [np.asarray(item) for item in found]


def try_engine(original: Original, engine: str, samples: Feeds, calls: Sequence[Feeds], atol: float = 0.0) -> Trial:
    """Converts a graph for one engine, and calls it with values.

    Args:
        original: The graph.
        engine: The engine.
        samples: What the conversion runs it on.
        calls: What it is called with afterwards.
        atol: What floats may differ by besides a relative error.
    """
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "samples.npz")
        np.savez(data, **{name: _kept(np.asarray(value)) for name, value in samples.items()})
        settings = ConvertSettings(
            outputs=original.outputs, engine=engine, minimum_segment_size=1, data=str(data) if samples else None
        )
        definition = type(original.definition)()
        definition.CopyFrom(original.definition)
        try:
            made, runners, report = pipeline.optimize(Graph(definition), settings)
        except IcebreakerError as error:
            return Trial(0.0, (str(error),), ())
        if not report.segments:
            return Trial(
                0.0, tuple(str(item.reason) for item in report.left_in_tensorflow if item.code != "passive"), ()
            )
        with warnings.catch_warnings(record=True):
            model = Model(Graph(made), Path(folder), fallback=True, runners=runners)
        outcomes = tuple(_call(model, original, feeds, atol) for feeds in calls)
    reasons = tuple(str(item.reason) for item in report.left_in_tensorflow if item.code != "passive")
    return Trial(report.coverage, reasons, outcomes)


def _kept(values: np.ndarray) -> np.ndarray:
    """Values in a type that NumPy's files know."""
    return values.astype(np.float32) if values.dtype == np.dtype(ml_dtypes.bfloat16) else values


def _call(model: Model, original: Original, feeds: Feeds, atol: float) -> Outcome:
    want = original(feeds)
    for node in model.nodes.values():
        node._warned = False
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            have = list(model(dict(feeds)).values())
        except Exception as error:  # native libraries raise what they like
            words = str(error).splitlines()[0][:200]
            return Outcome("right", words) if isinstance(want, str) else Outcome("fails", words)
    ways = [item.message for item in told if isinstance(item.message, EngineWarning)]
    if isinstance(want, str):
        return Outcome("right" if ways else "answers", want)
    for name, expected, found in zip(original.outputs, want, have, strict=True):
        if why := differs(expected, np.asarray(found), atol):
            if any(map(_has_denormals, feeds.values())):  # which TensorFlow takes for zero, where its threads run
                return Outcome("denormal", why)
            shown = {key: np.ravel(value)[:12].tolist() for key, value in feeds.items()}
            return Outcome("wrong", f"{name}: {why}; fed {shown}")
    if ways:
        why = next((str(item) for item in ways), "")
        is_limit = any(code in repr(item.message) for item in ways for code in GivesWay.codes)
        return Outcome("gave way" if is_limit else "fails", why)
    return Outcome("right")


def _has_denormals(values: np.ndarray) -> bool:
    if values.dtype.kind not in "fV":
        return False
    smallest = {2: 6.2e-5, 4: 1.2e-38, 8: 2.3e-308}[values.dtype.itemsize]
    size = np.abs(values.astype(np.float64))
    return bool(((size > 0) & (size < smallest)).any())


def differs(want: np.ndarray, have: np.ndarray, atol: float = 0.0) -> str:
    """How an engine's output differs from TensorFlow's; empty if it does not.

    Whole numbers, truth values and places of NaNs must be the same; floats within 2e-4 (in half precision 1e-2).
    """
    if want.shape != have.shape:
        return f"shape {have.shape}, not {want.shape}"
    if want.dtype != have.dtype:
        return f"type {have.dtype}, not {want.dtype}"
    if want.dtype.kind in "iubSUO":
        return "" if (want == have).all() else _shown(want, have, want != have)
    is_half = want.dtype.itemsize == 2
    a, b = want.astype(np.float64), have.astype(np.float64)
    smallest = 1e-7 if is_half else 2e-38  # engines take what is not normal for zero
    if is_half:  # TensorFlow rounds each step of a sum, and what is beyond the type is infinite or the largest
        most = 65504 if want.dtype == np.float16 else 3.38e38
        a, b = np.clip(a, -most, most), np.clip(b, -most, most)
        within = np.abs(a[np.abs(a) < most / 2])
        smallest += 4e-3 * within.max(initial=0)
    with np.errstate(all="ignore"):
        near = np.abs(a - b) <= atol + smallest + (1e-2 if is_half else 2e-4) * np.abs(a)
    same = near | (a == b) | (np.isnan(a) & np.isnan(b))
    return "" if same.all() else _shown(a, b, ~same)


def _shown(want: np.ndarray, have: np.ndarray, where: np.ndarray) -> str:
    found, expected = (np.ravel(values[where])[:4].tolist() for values in (have, want))
    return f"{found}, not {expected} ({int(where.sum())} of {where.size})"
