"""What the tables say: columns of values, made from the graph and what is known of it, apart from any widget."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from icebreaker.graph.ops import FORWARDING, PLACEHOLDERS
from icebreaker.messages import printable
from icebreaker.reports import SegmentReport
from icebreaker.tensors import Tensor
from icebreaker_gui.graph_view.data import GraphData
from icebreaker_gui.layout import Inner
from icebreaker_gui.style import formatting
from icebreaker_gui.style.wording import translate

# What only hands values on, or holds them: not shown unless asked for.
_QUIET = FORWARDING | PLACEHOLDERS | {"Const", "NoOp", "IdentityN"}
_MOST_FUSED = 8  # ops into one, by TensorFlow
_FORMULA = ("=", "+", "-", "@", "\t")  # what a spreadsheet would compute


@dataclass
class Column:
    """One column.

    Attributes:
        title: Its head.
        told: What it says, for a tool tip.
        values: One for each row: texts, or numbers with None where nothing is known.
        text: How a number is written; None: the values are texts.
        bar: Whether values are shares, which are drawn as bars.
    """

    title: str
    told: str = ""
    values: list[Any] = field(default_factory=list)
    text: Callable[[float], str] | None = None
    bar: bool = False

    def cell(self, row: int) -> str:
        """A value as it is shown."""
        value = self.values[row]
        if self.text is None:
            return str(value)
        return "" if value is None else self.text(value)


@dataclass
class Sheet:
    """A table.

    Attributes:
        columns: Name → column, in their order; those of which nothing is known are missing.
        keys: What each row is in the graph: a node's name, or an engine's layer; "" for none.
        quiet: Whether a row is shown only if all are asked for.
        places: What is in the graph → its row: what is done in a layer leads to the layer.
    """

    columns: dict[str, Column] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)
    quiet: list[bool] = field(default_factory=list)
    places: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.keys)

    def filtered(self, text: str, everything: bool) -> list[int]:
        """The rows in which each of the words of `text` stands, in whatever case; `op:relu` for a whole cell."""
        rows = list(range(len(self))) if everything else [row for row, quiet in enumerate(self.quiet) if not quiet]
        for word in text.lower().split():
            name, _, cell = word.partition(":")
            if cell and name in self.columns and self.columns[name].text is None:
                rows = [row for row in rows if self.columns[name].values[row].lower() == cell]
                continue
            texts = [column.values for column in self.columns.values() if column.text is None]
            rows = [row for row in rows if any(word in values[row].lower() for values in texts)]
        return rows

    def sorted(self, rows: Sequence[int], name: str, falling: bool) -> list[int]:
        """Rows in the order of a column; those without a value last, whichever way."""
        column = self.columns.get(name)
        if column is None:
            return list(rows)
        values = column.values
        if column.text is None:
            return sorted(rows, key=lambda row: values[row].lower(), reverse=falling)
        known = [row for row in rows if values[row] is not None]
        return [
            *sorted(known, key=values.__getitem__, reverse=falling),
            *(row for row in rows if values[row] is None),
        ]

    def table(self, rows: Iterable[int], plain: bool) -> list[list[Any]]:
        """Head and rows: with `plain` values for programs, else as they are shown."""
        columns = list(self.columns.values())
        body = [
            [column.values[row] if plain and column.text else column.cell(row) for column in columns] for row in rows
        ]
        return [[column.title for column in columns], *body]


def tab_separated(sheet: Sheet, rows: Iterable[int]) -> str:
    """Rows as text for the clipboard, which a spreadsheet takes apart."""
    return "\n".join("\t".join(_harmless(cell) for cell in row) for row in sheet.table(rows, plain=False))


def comma_separated(sheet: Sheet, rows: Iterable[int]) -> bytes:
    """Rows as a CSV file, with exact numbers: milliseconds, counts, shares from 0 to 1."""
    stream = io.StringIO()
    csv.writer(stream).writerows(
        ["" if cell is None else _harmless(cell) for cell in row] for row in sheet.table(rows, plain=True)
    )
    return stream.getvalue().encode("utf-8-sig")  # by whose mark spreadsheets tell UTF-8


def _harmless(cell: Any) -> str:
    """A cell; a name that a spreadsheet would compute stays a text, by the mark that spreadsheets have for that."""
    if not isinstance(cell, str):
        return str(cell)
    text = printable(cell).replace("\t", " ")
    return f"'{text}" if text.startswith(_FORMULA) else text


class _Times:
    """What each op took before and now, as far as it was measured.

    What does the work of several ops, in TensorFlow or in an engine, was measured as one. Its time stands at the op
    with the most to do, so that sums are right.
    """

    def __init__(self, data: GraphData) -> None:
        original, optimized = data.profile(False), data.profile(True)
        self.before: dict[str, float] = {}
        for key, item in original.nodes.items() if original else ():
            home = _origin(data, key, item.ran_as)
            self.before[home] = self.before.get(home, 0.0) + item.ms
        self.now: dict[str, float] = {}
        self.layer: dict[str, str] = {}
        self.precision: dict[str, str] = {}
        self.measured = original is not None, optimized is not None
        self.total = (optimized or original).total_ms if (optimized or original) else 0.0  # type: ignore[union-attr]
        if optimized:
            engines = {segment.name for segment in data.conversion.segments} if data.conversion else set()
            for key, item in optimized.nodes.items():
                if key not in data.segment_of and key not in engines:
                    self.now[key] = item.ms
        for segment in data.conversion.segments if data.conversion else ():
            self._take_layers(data, segment)

    def _take_layers(self, data: GraphData, segment: SegmentReport) -> None:
        for name, _type, precision, ms, nodes, _key in layers_of(data, segment):
            for node in nodes:
                self.layer.setdefault(node, name)
                self.precision.setdefault(node, precision)
            if ms is not None and nodes:
                heaviest = max(nodes, key=lambda node: _work(data, node))
                self.now[heaviest] = self.now.get(heaviest, 0.0) + ms


def _origin(data: GraphData, name: str, ran_as: str) -> str:
    """The op that TensorFlow fused those behind it into: the time of a `_FusedConv2D` stands at the convolution."""
    graph, here = data.graph, name
    if graph is not None and ran_as.startswith("_Fused"):
        for _ in range(_MOST_FUSED):
            if here not in graph:
                break
            if graph[here].op == ran_as.removeprefix("_Fused"):
                return here
            here = graph[here].inputs[0].node if graph[here].inputs else ""
    return name


def _work(data: GraphData, node: str) -> int:
    cost = data.costs.get(node)
    return cost.flops or 0 if cost else 0


def layers_of(
    data: GraphData, segment: SegmentReport
) -> list[tuple[str, str, str, float | None, tuple[str, ...], str]]:
    """An engine's layers: name, type, precision, milliseconds if measured, original nodes in it, key in the graph."""
    found = []
    for number, (layer, timed) in enumerate(zip(segment.layers, data.layer_times(segment), strict=True)):
        nodes = timed.nodes if timed else ()
        if not nodes:
            nodes = tuple(name for name in layer.name.split(",") if data.segment_of.get(name) is segment)
        precision = layer.precision or (timed.precision if timed else "") or segment.precision
        key = f"{segment.name} layer {number}"
        found.append((layer.name, layer.type, precision, timed.ms if timed else None, nodes, key))
    return found


def ops_sheet(data: GraphData, inner: Mapping[str, Inner], cancelled: Callable[[], bool] = lambda: False) -> Sheet:
    """Every op: time before and now, its share of the time now, FLOPs, parameters, bytes, precision, engine layer.

    Args:
        data: The graph and what is known of it.
        inner: Key → node inside a function, for those that were measured.
        cancelled: Asked now and then; when true, the result is empty.
    """
    times = _Times(data)
    sheet = Sheet(_op_columns(data, times))
    add = {name: column.values.append for name, column in sheet.columns.items()}

    def row(key: str, op: str, quiet: bool) -> None:
        segment, cost = data.segment_of.get(key), data.costs.get(key)
        before, now = times.before.get(key), times.now.get(key)
        part = now if times.measured[1] else before
        values = {
            "name": key, "op": op, "before": before, "now": now,
            "share": part / times.total if part is not None and times.total else None,
            "flops": cost.flops if cost else None, "parameters": cost.parameters if cost else None,
            "bytes": cost.bytes if cost else None, "precision": _precision(data, times, key, segment),
            "layer": _place(times, key, segment),
        }  # fmt: skip
        for name, append in add.items():
            append(values[name])
        sheet.places[key] = len(sheet.keys)
        sheet.keys.append(key)
        sheet.quiet.append(quiet)

    for number, node in enumerate(data.graph or ()):
        if number % 1000 == 0 and cancelled():
            return Sheet()
        row(node.name, node.op, node.op in _QUIET and not times.before.get(node.name))
    for key in [*times.before, *times.now]:  # in functions, or new in the optimized graph
        if key not in sheet.places:
            made = data.after[key].op if data.after is not None and key in data.after else ""
            row(key, inner[key].node.op if key in inner else made, False)
    return sheet


def _op_columns(data: GraphData, times: _Times) -> dict[str, Column]:
    ms, number, size = formatting.milliseconds, formatting.short_number, formatting.size
    row = translate("table", "for one row of the inputs; empty: unknown")
    columns = {
        "name": Column(translate("table", "Name")),
        "op": Column(translate("table", "Op")),
        "before": Column(translate("table", "Before"), translate("table", "Time in the graph as it came"), [], ms),
        "now": Column(
            translate("table", "Now"),
            translate("table", "Time in the optimized graph. What became one layer was measured as one: its time "
                      "stands at the op with the most FLOPs"), [], ms,
        ),
        "share": Column(translate("table", "Share"), translate("table", "Of all measured time"), [],
                        formatting.percent, True),
        "flops": Column("FLOPs", translate("table", "Additions and multiplications") + ", " + row, [], number),
        "parameters": Column(translate("table", "Parameters"), translate("table", "Elements of the constants that "
                             "it reads"), [], number),
        "bytes": Column(translate("table", "Bytes"), translate("table", "Read and written") + ", " + row, [], size),
        "precision": Column(translate("table", "Precision"), translate("table", "What it computes in")),
        "layer": Column(translate("table", "Runs in"), translate("table", "The engine and its layer")),
    }  # fmt: skip
    return {name: column for name, column in columns.items() if name not in _missing(data, times)}


def _missing(data: GraphData, times: _Times) -> set[str]:
    """The columns of which nothing is known."""
    missing = {name for name, there in zip(("before", "now"), times.measured, strict=True) if not there}
    if not any(times.measured):
        missing.add("share")
    if not data.conversion:
        missing.add("layer")
    return missing


def _precision(data: GraphData, times: _Times, key: str, segment: SegmentReport | None) -> str:
    if segment is not None:
        return formatting.precision(times.precision.get(key) or segment.precision)
    if data.graph is not None and key in data.graph:
        value = data.graph[key].value
        return value.dtype if value else data.tensor_words(Tensor(key)).partition("[")[0]
    return ""


def _place(times: _Times, key: str, segment: SegmentReport | None) -> str:
    if segment is None:
        return "TensorFlow"
    layer = times.layer.get(key, "")
    engine = formatting.engine(segment.engine)
    return f"{engine} · {layer}" if layer else engine


def layers_sheet(data: GraphData) -> Sheet:
    """Every layer of every engine: time, share, FLOPs of the ops in it."""
    ms, number, share = formatting.milliseconds, formatting.short_number, formatting.percent
    sheet = Sheet({
        "name": Column(translate("table", "Layer"), translate("table", "In the engine's words")),
        "type": Column(translate("table", "Type")),
        "engine": Column(translate("table", "Engine")),
        "now": Column(translate("table", "Time"), translate("table", "In one run"), [], ms),
        "share": Column(translate("table", "Share"), translate("table", "Of all layers of engines"), [], share, True),
        "flops": Column("FLOPs", translate("table", "Of the ops in it, as far as they are known"), [], number),
        "precision": Column(translate("table", "Precision")),
        "ops": Column(translate("table", "Ops in it"), "", [], number),
    })  # fmt: skip
    segments = data.conversion.segments if data.conversion else ()
    found = [(segment, layer) for segment in segments for layer in layers_of(data, segment)]
    total = sum(layer[3] or 0.0 for _, layer in found)
    for segment, (name, type_, precision, ms_, nodes, key) in found:
        flops = [_work(data, node) for node in nodes]
        values = {
            "name": name, "type": type_, "engine": f"{formatting.engine(segment.engine)} · {segment.name}",
            "now": ms_, "share": ms_ / total if ms_ is not None and total else None,
            "flops": sum(flops) if nodes else None, "precision": formatting.precision(precision),
            "ops": len(nodes) if nodes else None,
        }  # fmt: skip
        for column, value in values.items():
            sheet.columns[column].values.append(value)
        for place in (key, *nodes):
            sheet.places.setdefault(place, len(sheet.keys))
        sheet.keys.append(key)
        sheet.quiet.append(False)
    if not total:
        del sheet.columns["now"], sheet.columns["share"]
    return sheet


def types_sheet(ops: Sheet) -> Sheet:
    """What the ops of each type take together."""
    sheet = Sheet({
        name: Column(column.title, column.told, [], column.text, column.bar)
        for name, column in ops.columns.items()
        if name in ("op", "before", "now", "share", "flops", "parameters", "bytes")
    })  # fmt: skip
    sheet.columns = {
        "op": sheet.columns.pop("op"),
        "count": Column(translate("table", "Ops"), translate("table", "How many there are"), [], lambda n: f"{n:,}"),
        **sheet.columns,
    }
    rows: defaultdict[str, list[int]] = defaultdict(list)
    for row, op in enumerate(ops.columns["op"].values):
        rows[op].append(row)
    for op, members in rows.items():
        for name, column in sheet.columns.items():
            if name == "op":
                column.values.append(op)
            elif name == "count":
                column.values.append(len(members))
            else:
                known = [value for row in members if (value := ops.columns[name].values[row]) is not None]
                column.values.append(sum(known) if known else None)
        for row in members:
            sheet.places[ops.keys[row]] = len(sheet.keys)
        sheet.keys.append("")
        sheet.quiet.append(all(ops.quiet[row] for row in members))
    return sheet
