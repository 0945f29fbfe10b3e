"""What is known of the chosen node, and why it was or was not converted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QGuiApplication, QPixmap
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from icebreaker.graph.graph import Graph, Node, TensorValue
from icebreaker.reports import SegmentReport
from icebreaker_gui.graph_view.sidebar.attribute_table import AttributeTable, Row
from icebreaker_gui.graph_view.sidebar.constant_preview import preview
from icebreaker_gui.graph_view.sidebar.costs import group_costs, node_costs
from icebreaker_gui.graph_view.sidebar.measured_times import group_times, layer_at, node_times
from icebreaker_gui.graph_view.sidebar.why_not import advice
from icebreaker_gui.graph_view.state import GraphState
from icebreaker_gui.layout import Inner
from icebreaker_gui.style import formatting, theme
from icebreaker_gui.style.widgets import breakable, button, label, set_look
from icebreaker_gui.style.wording import worded

_MOST_ROWS = 200


class Details(QWidget):
    """The attribute panel."""

    jumpWanted = Signal(str)
    excludeWanted = Signal(str)
    constantWanted = Signal(str)  # name of a constant to be saved

    def __init__(self, state: GraphState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._state = state
        self._title = label()
        self._title.setProperty("look", "title")
        self._title.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._title.setWordWrap(True)
        self._name = label()
        self._name.setProperty("look", "muted")
        self._name.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._name.setWordWrap(True)
        self._name.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self._card = QFrame()
        self._card.setProperty("look", "card")
        self._card.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Minimum)
        self._card_text = label()
        self._card_text.setWordWrap(True)
        self._card_text.setTextFormat(Qt.TextFormat.PlainText)
        self._exclude = QPushButton(self.tr("Leave this node in TensorFlow"))
        self._exclude.setProperty("look", "link")
        self._exclude.setToolTip(self.tr("It shows in the next conversion; nothing changes before"))
        self._exclude.clicked.connect(lambda: self.excludeWanted.emit(self._state.selected))
        card = QVBoxLayout(self._card)
        card.setContentsMargins(theme.SPACE, theme.SPACE, theme.SPACE, theme.SPACE)
        card.setSpacing(theme.SMALL)
        card.addWidget(self._card_text)
        card.addWidget(self._exclude, 0, Qt.AlignmentFlag.AlignLeft)
        self.table = AttributeTable()
        self.table.jumpWanted.connect(self.jumpWanted)
        self.table.copyAllWanted.connect(self._copy_all)
        self._image = label()
        self._image.setVisible(False)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(theme.SPACE, theme.SPACE, theme.SPACE, theme.SPACE)
        layout.setSpacing(theme.SPACE)
        head = QHBoxLayout()
        head.addWidget(self._title, 1)
        layout.addLayout(head)
        layout.addWidget(self._name)
        layout.addWidget(self._card)
        layout.addWidget(self._image)
        self._save = button(
            self.tr("Save the values as .npy…"), self.tr("Saves all that the constant holds, for NumPy"), "link"
        )
        self._save.clicked.connect(lambda: self.constantWanted.emit(self._state.selected))
        layout.addWidget(self._save, 0, Qt.AlignmentFlag.AlignLeft)
        layout.addWidget(self.table, 1)
        layout.addStretch()
        state.selectionChanged.connect(self.refresh)
        state.graphChanged.connect(self.refresh)
        state.valuesChanged.connect(lambda _name: self.refresh())
        self.refresh()

    # ---- filling ----------------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Shows what is chosen now."""
        self.table.clear()
        self._image.setVisible(False)
        self._save.setVisible(False)
        set_look(self._card_text, "")
        key, graph = self._state.selected, self._state.data.graph
        if graph is None or not key:
            self._title.setText(self.tr("Nothing is chosen"))
            self._name.setText(
                self.tr("Click a node to see its attributes and why it was or was not converted. "
                        "Double click a group to open it.") if graph is not None else ""
            )  # fmt: skip
            self._card.hide()
            self.table.hide()
            return
        self.table.show()
        segment = self._segment(key)
        if segment:
            self._show_segment(segment)
        elif key in graph:
            self._show_node(graph[key], graph)
        elif self._state.shared and key in self._state.shared.outline.inner:
            self._show_inner(self._state.shared.outline.inner[key])
        else:
            self._show_group(key)
        self._tell_excluded(key)
        self.table.expandAll()
        self.table.fit_names()

    def _tell_excluded(self, key: str) -> None:
        """What the user wants of what is chosen in the next conversion, and how to want something else."""
        names, excluded = self._state.ops_of(key), self._state.excluded
        wanted = bool(names) and excluded.issuperset(names)
        if wanted:
            self._exclude.setText(self.tr("Give it to engines again"))
        elif len(names) > 1:
            self._exclude.setText(self.tr("Leave these {n} ops in TensorFlow").format(n=len(names)))
        else:
            self._exclude.setText(self.tr("Leave this node in TensorFlow"))
        left = self._state.data.left
        self._exclude.setVisible(wanted or any(name not in left for name in names))
        if wanted and not all(name in left and left[name].code == "excluded" for name in names):
            self._card.show()
            told = self.tr("Stays in TensorFlow after the next Convert, as you wish.")
            before = self._card_text.text() if not self._card_text.isHidden() else ""
            self._card_text.setText(f"{told}\n\n{before}" if before else told)

    def _segment(self, key: str) -> SegmentReport | None:
        conversion = self._state.data.conversion
        if conversion is None or self._state.shared is None:
            return None
        outline = self._state.shared.outline
        for segment in conversion.segments:
            item = outline.segments.get(segment.name)
            if item is not None and outline.keys[item] == key:
                return segment
        return None

    def _show_node(self, node: Node, graph: Graph) -> None:
        state = self._state
        self._title.setText(node.op)
        self._name.setText(breakable(node.name))
        self._tell(node)
        self._tell_times(node_times(state.data, node.name))
        self._tell_costs(node_costs(state.data, node.name))
        self._save.setVisible(node.op == "Const")
        if node.inputs or node.controls:
            section = self.table.section(self.tr("Inputs"))
            for number, tensor in enumerate(node.inputs[:_MOST_ROWS]):
                self.table.row(section, state.data.tensor_words(tensor) or str(number), str(tensor), tensor.node)
            for name in node.controls[:_MOST_ROWS]:
                self.table.row(section, self.tr("after"), name, name)
        readers = graph.consumers[node.name]
        if readers:
            section = self.table.section(self.tr("Read by"))
            for name in readers[:_MOST_ROWS]:
                self.table.row(section, graph[name].op, name, name)
            if len(readers) > _MOST_ROWS:
                self.table.row(section, "", self.tr("and {n} more").format(n=len(readers) - _MOST_ROWS))
        self._tell_attributes({**node.attrs, "device": node.device} if node.device else node.attrs)
        if state.shared:
            outline = state.shared.outline
            leaf = outline.leaf.get(node.name, -1)
            folded = outline.folded.get(leaf, ()) if leaf >= 0 and outline.keys[leaf] == node.name else ()
            if folded:
                section = self.table.section(self.tr("Folded into it"))
                for name in folded[:_MOST_ROWS]:
                    inner = graph[name]
                    words = _words(inner.value) if inner.value else inner.op
                    self.table.row(section, words, name, name)
        if node.op == "Const":
            self._tell_values(node)

    def _tell_attributes(self, attributes: Mapping[str, Any]) -> None:
        """The attributes, those of TensorFlow's own making last."""
        if attributes:
            section = self.table.section(self.tr("Attributes"))
            for name in sorted(attributes, key=lambda text: (text.startswith("_"), text)):
                self.table.row(section, name, _words(attributes[name]))

    def _tell_values(self, node: Node) -> None:
        """What a constant holds, as numbers and as a picture; read from the file if that was not done yet."""
        state = self._state
        held = state.data.constant if state.data.constant and state.data.constant.name == node.name else node
        shown = preview(held, 248)
        if shown is None and held is node:
            state.read_constant(node.name)
        if shown:
            pixels, numbers = shown
            section = self.table.section(self.tr("Values"))
            for name, text in numbers:
                self.table.row(section, name, text)
            if pixels is not None:
                self._image.setPixmap(QPixmap.fromImage(pixels))
                self._image.setToolTip(self.tr("Each square is one value: dark is low, light is high"))
                self._image.setVisible(True)

    def _show_inner(self, inner: Inner) -> None:
        """A node inside a function: a loop's body, a branch."""
        node = inner.node
        prefix = inner.key.removesuffix(node.name)
        self._title.setText(node.op)
        self._name.setText(breakable(inner.key))
        self._card.setVisible(True)
        self._tell_times(node_times(self._state.data, inner.key))
        left = self._state.data.left.get(inner.owner)
        words = self.tr("Inside a function that {name} calls.").format(name=inner.owner)
        self._card_text.setText(f"{words} {worded(left.reason)}" if left else words)
        if node.inputs or node.controls:
            section = self.table.section(self.tr("Inputs"))
            for number, tensor in enumerate(node.inputs[:_MOST_ROWS]):
                self.table.row(section, str(number), str(tensor), prefix + tensor.node)
        self._tell_attributes(node.attrs)

    def _tell(self, node: Node) -> None:
        """The card: in which engine, or why in none."""
        state = self._state
        if state.data.conversion is None:
            self._card.setVisible(True)
            self._card_text.setText(self.tr("Not converted yet."))
            return
        left = state.data.left.get(node.name)
        segment = state.data.segment_of.get(node.name)
        self._card.setVisible(True)
        if left is not None:
            set_look(self._card_text, "warning" if left.code not in ("passive", "excluded") else "")
            text = self.tr("Stays in TensorFlow: {reason}").format(reason=worded(left.reason))
            more = advice(left.code)
            self._card_text.setText(f"{text}\n\n{more}" if more else text)
        elif segment is not None:
            self._card_text.setText(
                self.tr("Runs in {engine}, {precision}").format(
                    engine=formatting.engine(segment.engine),
                    precision=formatting.precision(segment.precision),
                )
            )
        else:
            self._card_text.setText(self.tr("Not needed for the outputs: it is not in the optimized graph."))

    # ---- measured times ---------------------------------------------------------------------------------------------

    def _tell_times(self, rows: Sequence[Row]) -> None:
        if rows:
            section = self.table.section(self.tr("Measured time"))
            for row in rows:
                self.table.row(section, *row)

    def _tell_costs(self, rows: Sequence[Row]) -> None:
        if rows:
            section = self.table.section(self.tr("For one row of the inputs"))
            for row in rows:
                self.table.row(section, *row)

    def _tell_layer(self, key: str) -> None:
        """What a layer in an engine took, and which ops went into it."""
        data = self._state.data
        layer = layer_at(data, key)
        if layer is None:
            return
        self._tell_times([Row(self.tr("in the engine"), formatting.milliseconds(layer.ms))])
        section = self.table.section(self.tr("Made of"))
        for name in layer.nodes:
            op = data.graph[name].op if data.graph and name in data.graph else ""
            self.table.row(section, op, name, name)

    def _show_segment(self, segment: SegmentReport) -> None:
        self._title.setText(f"{formatting.engine(segment.engine)} · {formatting.precision(segment.precision)}")
        self._name.setText(self.tr("the node {name} of the optimized graph").format(name=segment.name))
        self._card.setVisible(True)
        words = self.tr("{n} op became one."), self.tr("{n} ops became one.")
        self._card_text.setText(formatting.count(self._state.data.ops_in(segment), *words))
        self._tell_times(node_times(self._state.data, segment.name))
        section = self.table.section(self.tr("Engine"))
        self.table.row(section, self.tr("nodes"), f"{len(segment.nodes):,}")
        self.table.row(section, self.tr("built in"), f"{segment.build_seconds:.2f} s")
        self.table.row(section, self.tr("deviation"), f"{segment.deviation:.2g} " + self.tr("of the output's range"))
        if not segment.runs_here:
            self.table.row(section, self.tr("runs here"), self.tr("no: it was built for another machine"))
        for note in segment.notes:
            self.table.row(section, self.tr("note"), worded(note))
        for title, names in ((self.tr("Inputs"), segment.inputs), (self.tr("Outputs"), segment.outputs)):
            section = self.table.section(title)
            for number, name in enumerate(names[:_MOST_ROWS]):
                self.table.row(section, str(number), name, name.partition(":")[0])
        if segment.candidates:
            section = self.table.section(self.tr("What was tried"))
            for tried in segment.candidates:
                words = [formatting.precision(tried.precision)]
                if tried.ms:
                    words.append(formatting.milliseconds(tried.ms))
                words.append(worded(tried.note))
                self.table.row(section, formatting.engine(tried.engine), " · ".join(word for word in words if word))
        if segment.layers:
            section = self.table.section(self.tr("The engine's layers"))
            times = self._state.data.layer_times(segment)
            for layer, timed in list(zip(segment.layers, times, strict=True))[:_MOST_ROWS]:
                words = [formatting.milliseconds(timed.ms)] if timed else []
                words += [word for word in (layer.type, layer.precision, layer.provider) if word]
                self.table.row(section, " · ".join(words), layer.name)
        after = self._state.data.after
        if after is not None and segment.name in after:
            section = self.table.section(self.tr("Node in the optimized graph"))
            for name, value in sorted(after[segment.name].attrs.items()):
                self.table.row(section, name, _words(value))

    def _show_group(self, key: str) -> None:
        state = self._state
        side = state.side
        item = state.item(side.outline, key) if side else -1
        if side is None or item < 0:
            self._title.setText(key)
            self._name.setText("")
            self._card.hide()
            return
        outline = side.outline
        if item in outline.extra:
            self._title.setText(outline.ops[item])
            self._name.setText(breakable(outline.labels[item]))
            self._card.setVisible(True)
            layer = outline.segment_of[item] >= 0
            self._card_text.setText(
                self.tr("A layer that the engine made.") if layer else self.tr("Only in the optimized graph.")
            )
            self._tell_layer(outline.keys[item])
            return
        self._title.setText(outline.labels[item])
        self._name.setText(breakable(outline.keys[item].rstrip("/").replace("*", "")))
        self._card.setVisible(state.data.conversion is not None)
        leaves = [leaf for leaf in outline.leaves_of(item) if leaf not in outline.extra]
        if state.data.conversion:
            inside = sum(outline.segment_of[leaf] >= 0 for leaf in leaves)
            self._card_text.setText(
                self.tr("{inside} of {all} ops run in engines").format(inside=inside, all=len(leaves))
            )
        self._tell_times(group_times(state.data, outline, item))
        self._tell_costs(group_costs(state.data, leaves, outline))
        section = self.table.section(self.tr("{n} ops").format(n=len(leaves)))
        for op, count in outline.op_counts(item).most_common(_MOST_ROWS):
            self.table.row(section, op, f"×{count}")

    def _copy_all(self) -> None:
        lines = [self._title.text(), self._name.text().replace("\u200b", ""), *self.table.lines]
        QGuiApplication.clipboard().setText("\n".join(lines))


def _words(value: Any) -> str:
    match value:
        case None:
            return "—"
        case TensorValue():
            return f"{value.dtype} [{', '.join(map(str, value.shape))}]"
        case tuple():
            return "[" + ", ".join("?" if item is None else str(item) for item in value) + "]"
        case list():
            text = ", ".join(_words(item) for item in value[:64])
            return f"[{text}]" if len(value) <= 64 else f"[{text}, … {len(value)}]"
        case bytes():
            return formatting.size(len(value))
        case float():
            return f"{value:.7g}"
        case {"function": name}:
            return str(name)
        case str():
            return value if len(value) < 400 else value[:400] + " …"
        case _:
            return str(value)
