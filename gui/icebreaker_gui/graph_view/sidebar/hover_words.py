"""What the card beside the pointer says of an item of the graph."""

from __future__ import annotations

from icebreaker.graph.graph import Node
from icebreaker.reports import SegmentReport
from icebreaker.tensors import Tensor
from icebreaker_gui.graph_view.data import GraphData
from icebreaker_gui.graph_view.sidebar.measured_times import group_times, node_times
from icebreaker_gui.layout import Outline
from icebreaker_gui.style import formatting
from icebreaker_gui.style.wording import translate, worded

_LONGEST_REASON = 160  # letters; an engine's own words can be a page


def hover_lines(data: GraphData, outline: Outline, item: int) -> list[str]:
    """Name, op, shape, time, and why it is where it is; a group's ops; an engine's gain."""
    key = outline.keys[item]
    segment = next((s for s in data.conversion.segments if outline.segments.get(s.name) == item), None) \
        if data.conversion else None  # fmt: skip
    if segment:
        return _engine_lines(data, segment)
    if data.graph is not None and key in data.graph:
        return _node_lines(data, data.graph[key])
    lines = [outline.labels[item]]
    if outline.members[item]:
        most = outline.op_counts(item).most_common(3)
        count = formatting.count(int(outline.leaves[item]), translate("graph", "{n} op"), translate("graph", "{n} ops"))
        lines.append(f"{count}: " + ", ".join(f"{op} ×{n}" if n > 1 else op for op, n in most))
        lines += [f"{row.name}: {row.text}" for row in group_times(data, outline, item)]
        return lines
    lines.append(outline.ops[item])
    return lines + [f"{row.name}: {row.text}" for row in node_times(data, key)]


def _engine_lines(data: GraphData, segment: SegmentReport) -> list[str]:
    lines = [f"{formatting.engine(segment.engine)} · {formatting.precision(segment.precision)}", segment.name]
    words = translate("graph", "{n} op became one"), translate("graph", "{n} ops became one")
    lines.append(formatting.count(data.ops_in(segment), *words))
    if segment.tensorflow_ms and segment.engine_ms:
        lines.append(
            translate("graph", "tried by itself while converting: {before} in TensorFlow, {now} here").format(
                before=formatting.milliseconds(segment.tensorflow_ms), now=formatting.milliseconds(segment.engine_ms)
            )
        )
    return lines + [f"{row.name}: {row.text}" for row in node_times(data, segment.name)]


def _node_lines(data: GraphData, node: Node) -> list[str]:
    lines = [node.op, node.name]
    if shape := data.tensor_words(Tensor(node.name, 0)):
        lines.append(shape)
    lines += [f"{row.name}: {row.text}" for row in node_times(data, node.name)]
    left, segment = data.left.get(node.name), data.segment_of.get(node.name)
    if left and left.code != "passive":
        reason = worded(left.reason)
        short = reason if len(reason) <= _LONGEST_REASON else reason[:_LONGEST_REASON] + " …"
        lines.append(translate("graph", "stays in TensorFlow: {reason}").format(reason=short))
    elif segment:
        lines.append(
            translate("graph", "in {engine}").format(
                engine=f"{formatting.engine(segment.engine)} · {formatting.precision(segment.precision)}"
            )
        )
    return lines
