"""The graph on show and all that is known of it: its conversion, what was measured, the tensors that flow in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from icebreaker.graph.costs import Cost
from icebreaker.graph.graph import Graph, Node
from icebreaker.graph.ops import PASSIVE
from icebreaker.graph.shape_inference import Known
from icebreaker.reports import Benchmark, Conversion, LayerTime, Left, Profile, SegmentReport
from icebreaker.tensors import Tensor


@dataclass(eq=False)
class GraphData:
    """One graph, before and after conversion. It knows nothing of what is open or chosen, nor of any widget.

    Attributes:
        graph: As it came; None: there is none.
        outputs: Its outputs, as the user gave them.
        file: Where the values of large constants are that `graph` was read without.
        constant: The last one whose values were read from there.
        conversion: What became of it; None: it was not converted.
        after: The optimized graph.
        benchmark: What was measured of both.
        tensors: Dtypes and shapes in the graph before, as far as they can be told without running it.
        costs: Name → FLOPs, parameters and bytes, for one row of the inputs; empty until they are counted.
        left: Name → why that node stays in TensorFlow.
        segment_of: Name → the segment that a node is in.
    """

    graph: Graph | None = None
    outputs: tuple[str, ...] = ()
    file: Path | None = None
    constant: Node | None = None
    conversion: Conversion | None = None
    after: Graph | None = None
    benchmark: Benchmark | None = None
    tensors: Mapping[Tensor, Known] = field(default_factory=dict)
    costs: Mapping[str, Cost] = field(default_factory=dict)
    left: Mapping[str, Left] = field(default_factory=dict)
    segment_of: Mapping[str, SegmentReport] = field(default_factory=dict)

    def set_conversion(self, conversion: Conversion | None, after: Graph | None) -> None:
        """Takes what a conversion made; what was measured before was another pair of graphs, and is forgotten."""
        self.benchmark = None
        self.conversion = conversion if self.graph is not None else None
        self.after = after
        self.left = {left.node: left for left in conversion.left_in_tensorflow} if conversion else {}
        self.segment_of = (
            {node: segment for segment in conversion.segments for node in segment.nodes} if conversion else {}
        )

    def profile(self, after: bool) -> Profile | None:
        """Where the time of the graph before, or of the one after, goes; None if that was not measured."""
        return self.benchmark.profiles.get("optimized" if after else "original") if self.benchmark else None

    def ops_in(self, segment: SegmentReport) -> int:
        """How many ops of the graph an engine took over: those that compute something, as in the coverage."""
        return real_ops(self.graph, segment)

    def layer_times(self, segment: SegmentReport) -> list[LayerTime | None]:
        """What each of an engine's layers took, None where that is not known.

        An engine that was loaded anew may have made other layers than the one in the report.
        """
        profile = self.profile(True)
        timed = profile.layers.get(segment.name, ()) if profile else ()
        if [layer.type for layer in timed] == [layer.type for layer in segment.layers]:
            return list(timed)
        by_name = {layer.name: layer for layer in timed}
        return [by_name.get(layer.name) for layer in segment.layers]

    def tensor_words(self, tensor: Tensor) -> str:
        """Dtype and shape of a tensor as far as they are known, such as `float32[?,56,56,64]`; "" if not at all."""
        told = self.conversion.tensors.get(str(tensor), "") if self.conversion else ""
        if told and not told.endswith("[…]"):
            return told
        graph = self.graph
        if graph is not None and tensor.node in graph and (value := graph[tensor.node].value) is not None:
            return str(Known(value.dtype, value.shape))
        return str(self.tensors.get(tensor, "")) or told


def real_ops(graph: Graph | None, segment: SegmentReport) -> int:
    """How many nodes of a segment compute something: constants and what only hands on values are not counted."""
    if graph is None:
        return len(segment.nodes)
    return sum(name in graph and graph[name].op not in PASSIVE for name in segment.nodes)
