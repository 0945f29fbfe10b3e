"""Where the time of a graph goes: TensorFlow's time for each node, and the engines' for each of their layers.

Owns: the watched runs, and leading back what TensorFlow and engines call things to the nodes of the graph. The graph is
optimized by TensorFlow as in any other run: what is measured is what runs, fused ops included. Runs in the worker.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import Any

import numpy as np

from icebreaker.export.exporter import origin
from icebreaker.graph.graph import Graph
from icebreaker.reports import LayerTime, NodeTime, Profile
from icebreaker.runtime.model import Model
from icebreaker.tensors import Tensor

_FEWEST_RUNS, _MOST_RUNS = 5, 30
_LAYER_RUNS = 10
# TensorFlow numbers what it copies out of a function: `loop/body/_1/Add` is the node `Add` in the function `body`.
_COPIED = re.compile(r"/_\d+(?=/|$)")
_OPTIMIZER = re.compile(r"(?:^|/)(?:Arithmetic|Layout|Dependency|Loop|Function)?(?:Optimizer|ConstantFolding)/")
# Where kernels of a GPU are told apart from the calls that start them.
_KERNELS = re.compile(r"/stream:all$")


def profile_session(
    session: Any,
    graph: Graph,
    outputs: Sequence[Tensor],
    feeds: Mapping[str, Any],
    seconds: float,
    plain: Callable[[], Any],
) -> Profile:
    """Watches a graph in a session of TensorFlow.

    Args:
        session: Has `graph` in it.
        graph: Tells which nodes there are.
        outputs: What to fetch.
        feeds: Values by canonical tensor name.
        seconds: How long to watch; five runs are made at least.
        plain: Runs it as it is otherwise called, to tell what watching costs.
    """
    import tensorflow as tf

    v1 = tf.compat.v1
    names = session.graph.get_tensor_by_name
    fetches = [names(f"{item.node}:{item.port}") for item in outputs]
    given = {names(f"{t.node}:{t.port}"): value for key, value in feeds.items() for t in [Tensor.parse(key)]}
    options = v1.RunOptions(trace_level=v1.RunOptions.FULL_TRACE)

    def watched() -> Any:
        told = v1.RunMetadata()
        session.run(fetches, given, options=options, run_metadata=told)
        return told.step_stats

    plain()
    watched()  # the first prepares
    spent: dict[str, list[float]] = {"plain": [], "watched": []}
    found: list[dict[str, tuple[float, int]]] = []
    ran_as: dict[str, str] = {}
    called: dict[str, str] = {}  # TensorFlow's name → the graph's
    clock = time.perf_counter
    end = clock() + seconds
    while len(found) < _FEWEST_RUNS or (clock() < end and len(found) < _MOST_RUNS):
        began = clock()
        plain()
        spent["plain"].append(clock() - began)
        began = clock()
        statistics = watched()
        spent["watched"].append(clock() - began)
        times: dict[str, tuple[float, int]] = {}
        for name, op, milliseconds in _executed(statistics):
            if name not in called:
                called[name] = key = _key(name, graph)
                if op and key == name and name in graph and op != graph[name].op:
                    ran_as[key] = op
            ms, calls = times.get(called[name], (0.0, 0))
            times[called[name]] = ms + milliseconds, calls + 1
        found.append(times)
    nodes = {
        key: NodeTime(
            median(times.get(key, (0.0, 0))[0] for times in found),
            max(times.get(key, (0.0, 0))[1] for times in found),
            ran_as.get(key, ""),
        )
        for key in dict.fromkeys(key for times in found for key in times)
    }
    other = nodes.pop("", NodeTime(0.0))
    return Profile(nodes, other.ms, median(spent["watched"]) * 1000, median(spent["plain"]) * 1000, len(found))


def profile_model(model: Model, feeds: Mapping[str, np.ndarray], seconds: float) -> Profile:
    """Watches an optimized graph, and the layers inside its engines."""
    if model.is_direct:
        times = []
        end = time.perf_counter() + seconds / 2
        model(feeds)
        while len(times) < _FEWEST_RUNS or (time.perf_counter() < end and len(times) < _MOST_RUNS):
            began = time.perf_counter()
            model(feeds)
            times.append((time.perf_counter() - began) * 1000)
        took = median(times)
        found = Profile({next(iter(model.engines)): NodeTime(took)}, 0.0, took, took, len(times))
    else:
        outputs = [Tensor.parse(name) for name in model.outputs]
        found = profile_session(model.session, model.graph, outputs, feeds, seconds, lambda: model(feeds))
    layers: dict[str, tuple[LayerTime, ...]] = {}
    for engine_node, timed in model.layer_times(feeds, _LAYER_RUNS).items():
        known = model.inside(engine_node)
        layers[engine_node] = tuple(
            replace(layer, nodes=tuple(dict.fromkeys(_origins(layer.name.split(","), known)))) for layer in timed
        )
    # An engine node ran as the function that hands arrays over; its engine says more.
    nodes = {
        name: replace(item, ran_as=model.engines[name]) if name in model.engines else item
        for name, item in found.nodes.items()
    }
    return replace(found, nodes=nodes, layers=layers)


def _origins(names: Iterable[str], known: set[str]) -> Iterable[str]:
    for name in names:
        # OpenVINO splits a convolution with a bias in two, and names an op after its tensor now and then.
        if node := origin(name.removesuffix("/WithoutBiases").removesuffix(":0"), known):
            yield node


def _executed(statistics: Any) -> Iterable[tuple[str, str, float]]:
    """Name, op and milliseconds of all that ran; on a GPU of the kernels, not of the calls that start them."""
    on_gpu = any(_KERNELS.search(device.device) for device in statistics.dev_stats)
    for device in statistics.dev_stats:
        kernels = bool(_KERNELS.search(device.device))
        if on_gpu and not kernels and "GPU" in device.device.upper():
            continue
        for item in device.node_stats:
            milliseconds = (item.op_end_rel_nanos - item.op_start_rel_nanos) / 1e6
            if not item.op_end_rel_nanos:  # kernels are timed in whole microseconds
                milliseconds = (item.op_end_rel_micros - item.op_start_rel_micros) / 1e3
            if kernels:
                name, _, op = item.node_name.partition(":")
                yield name, op.partition("#")[0], milliseconds
            else:
                label = re.search(r"= (\w+)\(", item.timeline_label)
                yield item.node_name, label[1] if label else "", milliseconds


def _key(name: str, graph: Graph) -> str:
    """The node that something executed belongs to, or its key inside a function; "" for what belongs to none."""
    if name in graph:
        return name
    text = _COPIED.sub("", name)
    if found := _OPTIMIZER.search(text):  # TensorFlow made it out of a node whose name comes last
        scope, words = text[: found.start()], text[found.end() :].split("_")
        for start in range(len(words)):
            candidate = "/".join(part for part in (scope, "_".join(words[start:])) if part)
            if candidate in graph:
                return candidate
    around = text
    while around := around.rpartition("/")[0]:
        if around in graph:
            return text if graph[around].functions else around
    return ""
