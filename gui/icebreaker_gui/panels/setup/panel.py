"""The Setup dock: what to convert, how, and the button that does it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from PySide6.QtCore import QAbstractListModel, QEvent, QModelIndex, QPersistentModelIndex, QSignalBlocker, Qt, Signal
from PySide6.QtGui import QBrush
from PySide6.QtWidgets import (
    QAbstractItemView,
    QApplication,
    QButtonGroup,
    QCheckBox,
    QFileDialog,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLineEdit,
    QListView,
    QRadioButton,
    QScrollArea,
    QSlider,
    QStackedWidget,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from icebreaker.engines import registry
from icebreaker.errors import IcebreakerError
from icebreaker.gpu import left_for_engines
from icebreaker.graph.graph import Graph, Placeholder
from icebreaker.graph.ops import PLACEHOLDERS
from icebreaker.messages import Message
from icebreaker.reports.reports import EngineStatus
from icebreaker.settings import PRECISIONS, parse_size
from icebreaker_gui.panels import gpu_meter
from icebreaker_gui.panels.setup.engine_options import Options, check_shape, unmet, usable
from icebreaker_gui.panels.setup.int8_options import Calibration, lacks_data
from icebreaker_gui.session.session import Session
from icebreaker_gui.style import formatting, theme
from icebreaker_gui.style.widgets import Elided, Progress, Section, button, label, number, set_look
from icebreaker_gui.style.wording import worded

_Index = QModelIndex | QPersistentModelIndex
_NO_OUTPUTS = PLACEHOLDERS | {"Const", "NoOp", "Assert"}
_DEFAULT_FRACTION = 67  # per cent; what TF-TRT's users are used to


class Setup(QWidget):
    """The form of the settings over the bar with the Convert button."""

    openWanted = Signal()
    saveWanted = Signal()

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self.setProperty("look", "panel")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        form = QWidget()
        column = QVBoxLayout(form)
        column.setContentsMargins(12, theme.SPACE, 12, theme.LARGE)
        column.setSpacing(theme.LARGE)
        self._file = _File(session)
        self._file.openWanted.connect(self.openWanted)
        self._graph_parts = [_Inputs(session), _Outputs(session)]
        self._parts = [
            *self._graph_parts,
            _Engine(session),
            Options(session),
            _Precision(session),
            Calibration(session),
        ]
        self._parts += [
            _Nodes(session, "keep_float", self.tr("Kept in 16 or 32 bits by you"), self.tr("Let {name} be INT8 again")),
            _Limits(session), _Memory(session), _Data(session),
            _Nodes(session, "exclude", self.tr("Left in TensorFlow by you"), self.tr("Give {name} to engines again")),
            _Advanced(session),
        ]  # fmt: skip
        for part in (self._file, *self._parts):
            column.addWidget(part)
        column.addStretch()
        scroll = QScrollArea()
        scroll.setWidget(form)
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setFocusPolicy(Qt.FocusPolicy.NoFocus)  # it follows what has the focus in it
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.viewport().setAutoFillBackground(False)
        form.setAutoFillBackground(False)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(scroll, 1)
        self._start = _Start(session)
        self._start.saveWanted.connect(self.saveWanted)
        layout.addWidget(self._start)
        self.setMinimumWidth(300)
        session.activityChanged.connect(self._update)
        session.graphChanged.connect(self._update)
        self._update()

    def why_not(self) -> str:
        """Why the graph cannot be converted as things are; nothing if it can."""
        return self._start.why_not()

    def _update(self) -> None:
        for part in self._parts:
            part.setEnabled(not self._session.busy)
        for part in self._graph_parts:
            part.setVisible(self._session.graph is not None)


class _File(QWidget):
    openWanted = Signal()

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._name = Elided(bold=True)
        self._facts = label(look="muted", wrap=True)
        opener = button(self.tr("Open…"), self.tr("Open a frozen graph, SavedModel or Keras file (Ctrl+O)"))
        opener.clicked.connect(self.openWanted)
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setVerticalSpacing(theme.TINY)
        layout.addWidget(self._name, 0, 0)
        layout.addWidget(opener, 0, 1)
        layout.addWidget(self._facts, 1, 0, 1, 2)
        layout.setColumnStretch(0, 1)
        session.graphChanged.connect(self._update)
        self._update()

    def _update(self) -> None:
        inspection, path = self._session.inspection, self._session.path
        if inspection is None or path is None:
            self._name.setText(self.tr("No graph is open"), "muted")
            self._facts.hide()
            return
        self._name.setText(path.name, "text")
        self._name.setToolTip(str(path))
        facts = [
            formatting.count(inspection.nodes, self.tr("{n} node"), self.tr("{n} nodes")),
            formatting.count(len(inspection.ops), self.tr("{n} kind of op"), self.tr("{n} kinds of op")),
            self.tr("{size} of constants").format(size=formatting.size(inspection.bytes)),
        ]
        if inspection.functions:
            functions = len(inspection.functions)
            facts.append(formatting.count(functions, self.tr("{n} function"), self.tr("{n} functions")))
        if inspection.control_flow:
            facts.append(self.tr("control flow"))
        self._facts.setText(" · ".join(facts))
        self._facts.show()
        self._facts.setToolTip("\n".join(f"{count} {op}" for op, count in list(inspection.ops.items())[:20]))


class _Inputs(Section):
    """Placeholders; an open shape can be edited in place."""

    _SHAPE = 2

    def __init__(self, session: Session) -> None:
        super().__init__("")
        self._session = session
        self._by_name: dict[str, Placeholder] = {}
        self._list = QTreeWidget()
        self._list.setHeaderLabels([self.tr("Input"), self.tr("Type"), self.tr("Shape")])
        self._list.setRootIsDecorated(False)
        self._list.setUniformRowHeights(True)
        self._list.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self._list.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self._list.itemClicked.connect(self._edit)
        self._list.itemActivated.connect(lambda item, _column: self._edit(item, self._SHAPE))
        self._list.itemChanged.connect(self._on_edited)
        self._problem = label(look="error", wrap=True)
        self._problem.hide()
        self.body.addWidget(self._list)
        self.body.addWidget(self._problem)
        session.graphChanged.connect(self._update)
        session.settingsChanged.connect(self._update)
        self._update()

    def _update(self) -> None:
        graph, settings = self._session.graph, self._session.settings
        if graph is None:
            return
        needed = graph.ancestors(name.split(":")[0] for name in settings.outputs)
        self._by_name = {item.name: item for item in graph.placeholders}
        with QSignalBlocker(self._list):
            self._list.clear()
            for item in graph.placeholders:
                chosen = settings.input_shapes.get(item.name)
                row = QTreeWidgetItem([item.name, item.dtype, formatting.shape(chosen or item.shape)])
                row.setToolTip(0, item.name)
                if _is_open(item):
                    row.setFlags(row.flags() | Qt.ItemFlag.ItemIsEditable)
                    row.setForeground(self._SHAPE, QBrush(theme.current().color("accent")))
                    row.setToolTip(
                        self._SHAPE,
                        self.tr("Open in the graph: click to give sizes, such as 1, 224, 224, 3; empty leaves it open"),
                    )
                if item.name not in needed:
                    for column in range(3):
                        row.setForeground(column, QBrush(theme.current().color("faint")))
                    row.setToolTip(0, self.tr("{name}: the chosen outputs do not need it").format(name=item.name))
                self._list.addTopLevelItem(row)
        self._list.resizeColumnToContents(1)
        self._list.resizeColumnToContents(2)
        width = self._list.viewport().width() - self._list.columnWidth(1) - self._list.columnWidth(2)
        self._list.setColumnWidth(0, max(90, width))
        rows = max(1, min(5, len(graph.placeholders)))
        height = self._list.sizeHintForRow(0) if graph.placeholders else theme.CONTROL_HEIGHT
        self._list.setFixedHeight(self._list.header().sizeHint().height() + rows * max(height, 20) + theme.SPACE)

    def changeEvent(self, event: QEvent) -> None:
        """Follows the theme: items keep the colours they were made with."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "_problem"):
            self._update()

    def _edit(self, item: QTreeWidgetItem, column: int) -> None:
        if column == self._SHAPE and item.flags() & Qt.ItemFlag.ItemIsEditable:
            self._list.editItem(item, column)

    def _on_edited(self, item: QTreeWidgetItem, column: int) -> None:
        name = item.text(0)
        shapes = dict(self._session.settings.input_shapes)
        self._problem.hide()
        try:
            chosen = _parse_shape(item.text(column), self._by_name[name])
        except IcebreakerError as error:
            self._problem.setText(str(error))
            self._problem.show()
            chosen = shapes.get(name)
        shapes.pop(name, None)
        profiles = dict(self._session.settings.profiles)
        if chosen is not None:
            shapes[name] = chosen
            profiles.pop(name, None)  # one of them counts
        self._session.change(input_shapes=shapes, profiles=profiles)
        self._update()


def _is_open(item: Placeholder) -> bool:
    return item.shape is None or None in item.shape


def _parse_shape(text: str, item: Placeholder) -> tuple[int, ...] | None:
    """Reads a concrete shape that fits the graph's open one; None where nothing was chosen."""
    parts = [part.strip() for part in text.replace("×", ",").replace("x", ",").strip("[]() ").split(",")]
    if parts == [""] or "?" in parts:
        return None
    if not all(part.isascii() and part.isdigit() and int(part) > 0 for part in parts):
        raise IcebreakerError(f"{text!r} is not a shape: write sizes with commas, such as 1, 224, 224, 3")
    sizes = tuple(int(part) for part in parts)
    check_shape(item, sizes)
    return sizes


class _Tensors(QAbstractListModel):
    """Tensors with check marks, of which those whose names contain a text are shown."""

    checkedChanged = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._names: list[str] = []
        self._ops: dict[str, str] = {}
        self._shown: list[str] = []
        self._filter = ""
        self.checked: dict[str, None] = {}

    def load(self, graph: Graph, checked: Iterable[str]) -> None:
        """Offers every tensor of a graph that can be an output: candidates first, then from the end backwards."""
        first = dict.fromkeys((*graph.candidate_outputs, *checked))
        rest: dict[str, None] = {}
        for node in reversed(graph.nodes):
            if node.op not in _NO_OUTPUTS:
                rest[node.name] = None
            for tensor in node.inputs:  # ports above 0 are known by their readers
                if tensor.port:
                    rest[str(tensor)] = None
        self._names = list(first | rest)
        self._ops = {node.name: node.op for node in graph}
        self.checked = dict.fromkeys(checked)
        self.show_matching(self._filter)

    def check_only(self, names: Iterable[str]) -> None:
        """Sets the check marks."""
        self.checked = dict.fromkeys(names)
        self.dataChanged.emit(self.index(0), self.index(max(0, len(self._shown) - 1)))

    def show_matching(self, text: str) -> None:
        """Shows the tensors with `text` in their names or ops."""
        self._filter = text
        want = text.strip().lower()
        self.beginResetModel()
        self._shown = [
            name
            for name in self._names
            if not want or want in name.lower() or want in self._ops.get(name.split(":")[0], "").lower()
        ]
        self.endResetModel()

    def rowCount(self, parent: _Index = QModelIndex()) -> int:  # noqa: B008 - Qt's own signature
        """How many are shown."""
        return 0 if parent.isValid() else len(self._shown)

    def data(self, index: _Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Name, check mark and tool tip."""
        name = self._shown[index.row()]
        if role == Qt.ItemDataRole.DisplayRole:
            return name
        if role == Qt.ItemDataRole.CheckStateRole:
            return Qt.CheckState.Checked if name in self.checked else Qt.CheckState.Unchecked
        if role == Qt.ItemDataRole.ToolTipRole:
            return f"{name}\n{self._ops.get(name.split(':')[0], '')}"
        return None

    def setData(self, index: _Index, value: Any, role: int = Qt.ItemDataRole.EditRole) -> bool:
        """Sets or takes away a check mark."""
        if role != Qt.ItemDataRole.CheckStateRole:
            return False
        name = self._shown[index.row()]
        if Qt.CheckState(value) == Qt.CheckState.Checked:
            self.checked[name] = None
        else:
            self.checked.pop(name, None)
        self.dataChanged.emit(index, index)
        self.checkedChanged.emit()
        return True

    def flags(self, index: _Index) -> Qt.ItemFlag:
        """All can be checked."""
        return super().flags(index) | Qt.ItemFlag.ItemIsUserCheckable


class _Outputs(Section):
    def __init__(self, session: Session) -> None:
        super().__init__(self.tr("Outputs"))
        self._session = session
        self._model = _Tensors()
        search = QLineEdit(placeholderText=self.tr("Search tensors by name or op"), clearButtonEnabled=True)
        search.textChanged.connect(self._model.show_matching)
        self._list = QListView()
        self._list.setModel(self._model)
        self._list.setUniformItemSizes(True)
        self._list.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self._list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._list.setFixedHeight(124)
        self._list.setAccessibleName(self.tr("Outputs"))
        self._model.checkedChanged.connect(lambda: session.change(outputs=tuple(self._model.checked)))
        self.body.addWidget(search)
        self.body.addWidget(self._list)
        session.graphChanged.connect(self._load)
        session.settingsChanged.connect(self._update)
        self._load()

    def _load(self) -> None:
        if self._session.graph:
            self._model.load(self._session.graph, self._session.settings.outputs)
        self._update()

    def _update(self) -> None:
        outputs = self._session.settings.outputs
        if tuple(self._model.checked) != outputs:
            self._model.check_only(outputs)
        self.remark.setText(self.tr("{n} chosen").format(n=len(outputs)))


class _Engine(Section):
    """One radio button an engine; what is not here is disabled and says why."""

    def __init__(self, session: Session) -> None:
        super().__init__(self.tr("Engine"))
        self._session = session
        self._group = QButtonGroup(self)
        self._buttons: dict[str, QRadioButton] = {}
        self._details = {}
        for name in ("auto", *registry.names()):
            choice = QRadioButton(
                self.tr("Auto: measure each, keep the fastest") if name == "auto" else formatting.engine(name)
            )
            choice.setChecked(session.settings.engine == name)
            choice.toggled.connect(lambda on, name=name: on and session.change(engine=name))
            self._group.addButton(choice)
            self._buttons[name] = choice
            self.body.addWidget(choice)
            if name != "auto":
                self._details[name] = detail = label(look="muted", wrap=True)
                detail.setContentsMargins(22, 0, 0, theme.SMALL)
                detail.setFont(theme.font(0.9))
                self.body.addWidget(detail)
        self._buttons["auto"].setToolTip(
            self.tr("Builds every engine that is here for each segment, and keeps TensorFlow where none is faster")
        )
        session.machineChanged.connect(self._update)
        session.settingsChanged.connect(self._update)
        self._update()

    def _update(self) -> None:
        machine = self._session.machine
        known: dict[str, EngineStatus] = {item.name: item for item in machine.engines} if machine else {}
        for name, detail in self._details.items():
            status = known.get(name)
            unknown = self.tr("not known here") if machine else self.tr("asking…")
            text = worded(status.detail) if status else unknown
            detail.setText(text)
            usable = status is not None and status.builds
            self._buttons[name].setEnabled(usable)
            detail.setEnabled(usable)
            for widget in (self._buttons[name], detail):
                widget.setToolTip(text)
        if chosen := self._buttons.get(self._session.settings.engine):  # settings outlive a plug-in
            chosen.setChecked(True)


class _Precision(Section):
    """Three choices, and what the chosen one really is on this machine."""

    def __init__(self, session: Session) -> None:
        super().__init__(self.tr("Precision"))
        self._session = session
        self._buttons = {}
        row = QHBoxLayout()
        group = QButtonGroup(self)
        for name in PRECISIONS:
            choice = button(formatting.precision(name))
            choice.setCheckable(True)
            choice.setChecked(session.settings.precision == name)
            choice.toggled.connect(lambda on, name=name: on and session.change(precision=name))
            group.addButton(choice)
            row.addWidget(choice)
            self._buttons[name] = choice
        self._really = label(look="muted", wrap=True)
        self._really.setFont(theme.font(0.9))
        self.body.addLayout(row)
        self.body.addWidget(self._really)
        session.machineChanged.connect(self._update)
        session.settingsChanged.connect(self._update)
        self._update()

    def _update(self) -> None:
        for name, choice in self._buttons.items():
            offered = self._session.machine is None or bool(self._offers(name))
            choice.setEnabled(offered)
            choice.setToolTip("" if offered else self.tr("The chosen engine does not offer it here"))
        chosen = self._session.settings.precision
        self._buttons[chosen].setChecked(True)
        offers = self._offers(chosen)
        if set(offers.values()) <= {formatting.precision(chosen)}:
            text = ""
        elif len(set(offers.values())) == 1:
            text = self.tr("computes in {precision} here").format(precision=next(iter(offers.values())))
        else:
            text = " · ".join(f"{formatting.engine(engine)}: {really}" for engine, really in offers.items())
        self._really.setText(text)
        self._really.setVisible(bool(text))

    def _offers(self, precision: str) -> dict[str, str]:
        """Engine → what it really computes in, of the engines that may be used."""
        return {
            item.name: formatting.precision(item.precisions[precision])
            for item in usable(self._session)
            if precision in item.precisions
        }


class _Limits(Section):
    """Numbers that reach the engines that have them."""

    def __init__(self, session: Session) -> None:
        super().__init__(self.tr("Limits"))
        self._session = session
        tip = self.tr("Largest batch that the engines must take; they are tuned for it")
        self._batch = number(1, 4096, session.settings.max_batch_size, tip)
        self._batch.valueChanged.connect(lambda value: session.change(max_batch_size=value))
        tip = self.tr("Segments with fewer ops than this stay in TensorFlow")
        self._least = number(1, 10_000, session.settings.minimum_segment_size, tip)
        self._least.valueChanged.connect(lambda value: session.change(minimum_segment_size=value))
        self._retry = QCheckBox(self.tr("Try again what has crashed (--retry-crashed)"))
        self._retry.setToolTip(
            self.tr("A build that ended the worker is left out in later conversions, unless you ask")
        )
        self._retry.toggled.connect(lambda on: session.allow(crashed=on))
        self._workspace = QLineEdit()
        self._workspace.setToolTip(
            self.tr("Scratch memory for TensorRT's builder, such as 4 GB or 512 MiB; other engines need none")
        )
        self._workspace.editingFinished.connect(self._on_workspace)
        self._problem = label(look="error", wrap=True)
        self._problem.hide()
        grid = QGridLayout()
        grid.setHorizontalSpacing(theme.SPACE)
        grid.setVerticalSpacing(theme.SMALL)
        for row, (text, field) in enumerate(
            (
                (self.tr("Max batch size"), self._batch),
                (self.tr("Minimum segment size"), self._least),
                (self.tr("Workspace"), self._workspace),
            )
        ):
            name = label(text)
            name.setBuddy(field)
            name.setToolTip(field.toolTip())
            field.setFixedWidth(104)
            grid.addWidget(name, row, 0)
            grid.addWidget(field, row, 1)
        grid.setColumnStretch(0, 1)
        self.body.addLayout(grid)
        self.body.addWidget(self._problem)
        self.body.addWidget(self._retry)
        session.settingsChanged.connect(self._update)
        session.conversionChanged.connect(self._update)
        self._update()

    def _update(self) -> None:
        settings = self._session.settings
        for field, value in (
            (self._batch, settings.max_batch_size),
            (self._least, settings.minimum_segment_size),
        ):
            with QSignalBlocker(field):
                field.setValue(value)
        with QSignalBlocker(self._retry):
            self._retry.setChecked(self._session.consent.crashed)
        self._retry.setVisible(self._session.consent.crashed or self._has_crashed())
        if not self._problem.isVisibleTo(self):
            self._workspace.setText(_size_text(settings.builder.workspace_bytes))

    def _has_crashed(self) -> bool:
        """True if the last conversion left something out since it had crashed before."""
        conversion = self._session.conversion
        told = (*conversion.warnings, *(left.reason for left in conversion.left_in_tensorflow)) if conversion else ()
        return any(isinstance(words, Message) and words.remedy == "retry_crashed" for words in told)

    def _on_workspace(self) -> None:
        try:
            value = parse_size(self._workspace.text())
        except IcebreakerError as error:
            self._problem.setText(str(error))
            self._problem.show()
            return
        self._problem.hide()
        self._session.change(workspace_bytes=value)
        self._workspace.setText(_size_text(value))


def _size_text(count: int) -> str:
    """A size with the largest unit that gives a whole number, so that it reads back as it is."""
    for unit, factor in (("GiB", 1 << 30), ("GB", 10**9), ("MiB", 1 << 20), ("MB", 10**6)):
        if count and count % factor == 0:
            return f"{count // factor} {unit}"
    return str(count)


class _Memory(Section):
    """How the GPU's memory is shared between TensorFlow and the engines."""

    def __init__(self, session: Session) -> None:
        super().__init__(self.tr("GPU memory"))
        self._session = session
        self._limit = QCheckBox(self.tr("Limit TensorFlow's share"))
        self._slider = QSlider(Qt.Orientation.Horizontal)
        self._slider.setRange(5, 95)
        self._slider.setValue(_DEFAULT_FRACTION)
        self._slider.setAccessibleName(self.tr("TensorFlow's share of the GPU's memory, in per cent"))
        self._words = label(look="muted", wrap=True)
        self._words.setFont(theme.font(0.9))
        self._excess = label(look="warning", wrap=True)
        self._limit.toggled.connect(self._on_changed)
        self._slider.valueChanged.connect(self._on_changed)
        tip = self.tr("TensorFlow's share and the engines' workspace make up the GPU's memory together")
        self._fit_share, self._fit_workspace = button("", tip, "link"), button("", tip, "link")
        self._fit_share.clicked.connect(lambda: session.change(memory_fraction=self._proposals()[0]))
        self._fit_workspace.clicked.connect(lambda: session.change(workspace_bytes=self._proposals()[1]))
        for widget in (self._limit, self._slider, self._words, self._excess, self._fit_share, self._fit_workspace):
            self.body.addWidget(widget)
        session.machineChanged.connect(self._update)
        session.settingsChanged.connect(self._update)
        self._update()

    def _on_changed(self) -> None:
        self._session.change(memory_fraction=self._slider.value() / 100 if self._limit.isChecked() else None)
        self._update()

    def _update(self) -> None:
        machine, fraction = self._session.machine, self._session.settings.memory_fraction
        here = bool(machine and machine.gpu)
        self._limit.setEnabled(here)
        self._slider.setEnabled(here and fraction is not None)
        with QSignalBlocker(self._limit), QSignalBlocker(self._slider):
            self._limit.setChecked(fraction is not None)
            if fraction is not None:
                self._slider.setValue(round(fraction * 100))
        if machine is None:
            text = self.tr("asking…")
        elif not here:
            text = self.tr("There is no NVIDIA GPU here: TensorFlow and the engines use main memory as they need it.")
        elif fraction is None:
            text = self.tr("TensorFlow takes what it wants of {all} on {gpu}").format(
                all=formatting.size(machine.gpu_memory_bytes), gpu=machine.gpu
            )
        else:
            own = machine.gpu_memory_bytes * fraction
            text = self.tr("TensorFlow {own} · engines {rest} of {all}").format(
                own=formatting.size(own),
                rest=formatting.size(machine.gpu_memory_bytes - own),
                all=formatting.size(machine.gpu_memory_bytes),
            )
        self._words.setText(text)
        for widget in (self._limit, self._slider):
            widget.setToolTip(text)
        self._excess.setVisible(self._exceeds())
        if machine and self._exceeds():
            self._excess.setText(
                self.tr("The workspace, {size}, is more than the {rest} that is left for engines.").format(
                    size=_size_text(self._session.settings.builder.workspace_bytes),
                    rest=formatting.size(left_for_engines(machine.gpu_memory_bytes, fraction)),
                )
            )
        share, workspace = self._proposals()
        self._fit_share.setVisible(share is not None and share != fraction)
        self._fit_workspace.setVisible(workspace is not None and share != fraction)
        self._fit_share.setText(self.tr("Share {share} leaves room for the workspace").format(share=share))
        self._fit_workspace.setText(self.tr("Workspace {size} fits this share").format(size=_size_text(workspace or 0)))

    def _exceeds(self) -> bool:
        """Whether the workspace is larger than what is left, and an engine that may be used has one."""
        machine, settings = self._session.machine, self._session.settings
        if not machine or not machine.gpu or not any(item.options for item in usable(self._session)):
            return False
        return settings.builder.workspace_bytes > left_for_engines(machine.gpu_memory_bytes, settings.memory_fraction)

    def _proposals(self) -> tuple[float | None, int | None]:
        """A share for the workspace of now, and a workspace for the share of now; None where there is none."""
        machine, settings = self._session.machine, self._session.settings
        if not machine or not machine.gpu:
            return None, None
        total, fraction = machine.gpu_memory_bytes, settings.memory_fraction
        return (
            gpu_meter.fraction_for(total, settings.builder.workspace_bytes),
            None if fraction is None else gpu_meter.workspace_for(total, fraction),
        )


class _Data(Section):
    """A file with real values, on which engines are checked and INT8 is calibrated."""

    def __init__(self, session: Session) -> None:
        super().__init__(self.tr("Sample data"))
        self._session = session
        self._name = Elided(color="muted")
        choose = button(self.tr("Choose…"), self.tr("An .npz with an array for each input, by its name"))
        choose.clicked.connect(self._choose)
        self._clear = button(self.tr("Clear"), self.tr("Check the engines on made-up values"))
        self._clear.clicked.connect(lambda: session.change(data=None))
        row = QHBoxLayout()
        row.addWidget(self._name, 1)
        row.addWidget(self._clear)
        row.addWidget(choose)
        self.body.addLayout(row)
        session.settingsChanged.connect(self._update)
        self._update()

    def _update(self) -> None:
        data = self._session.settings.data
        self._name.setText(
            Path(data).name if data else self.tr("made up from types and shapes"), "text" if data else "muted"
        )
        self._name.setToolTip(data or self.tr("Every engine is checked against TensorFlow on these values"))
        self._clear.setVisible(data is not None)

    def _choose(self) -> None:
        start = str(self._session.path.parent) if self._session.path else ""
        path, _ = QFileDialog.getOpenFileName(self, self.tr("Sample data"), start, self.tr("NumPy archives (*.npz)"))
        if path:
            self._session.change(data=path)


class _Nodes(Section):
    """Nodes that the user has decided about; hidden while there are none."""

    def __init__(self, session: Session, setting: str, title: str, tip: str) -> None:
        """`setting` is the field of the settings that has their names, `tip` what taking `{name}` out does."""
        super().__init__(title)
        self._session, self._setting, self._tip = session, setting, tip
        self._rows = QWidget()
        self.body.addWidget(self._rows)
        session.settingsChanged.connect(self._update)
        self._names: tuple[str, ...] = ()
        self._update()

    def _update(self) -> None:
        settings = self._session.settings
        self._names, before = settings.flat[self._setting], self._names
        self.setVisible(bool(self._names) and (self._setting != "keep_float" or settings.precision == "int8"))
        if before == self._names:
            return
        self.body.removeWidget(self._rows)
        self._rows.deleteLater()
        self._rows = QWidget()
        column = QVBoxLayout(self._rows)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        for name in self._names:
            row = QHBoxLayout()
            take = button("✕", self._tip.format(name=name), "link")
            take.clicked.connect(lambda _on, name=name: self._take_back(name))
            row.addWidget(Elided(name), 1)
            row.addWidget(take)
            column.addLayout(row)
        self.body.addWidget(self._rows)

    def _take_back(self, name: str) -> None:
        self._session.change(**{self._setting: tuple(item for item in self._names if item != name)})


class _Advanced(Section):
    """What few people need, folded away until it is asked for: limits of the worker, and trust."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._fold = button("", self.tr("The worker's limits, and trust in engines"), "link")
        self._fold.setCheckable(True)
        self._fold.toggled.connect(self._unfold)
        self.body.addWidget(self._fold)
        self._fields = QWidget()
        self.body.addWidget(self._fields)
        self._memory = QLineEdit(placeholderText=self.tr("automatic"))
        self._memory.setToolTip(
            self.tr("Memory that the worker may take, such as 8 GB; empty: nine tenths of the machine's")
        )
        self._memory.editingFinished.connect(self._on_memory)
        tip = self.tr("How long a conversion or a measurement may take as a whole; 0: as long as it needs")
        self._time = number(0, 604_800, 0, tip)
        self._time.setSpecialValueText(self.tr("none"))
        self._time.setSuffix(self.tr(" s"))
        self._time.valueChanged.connect(lambda value: session.limit(time_seconds=float(value) or None))
        tip = self.tr("A worker that gives no sign of life for so long counts as hanging and is ended")
        self._patience = number(1, 86_400, round(session.limits.patience_seconds), tip)
        self._patience.setSuffix(self.tr(" s"))
        self._patience.valueChanged.connect(lambda value: session.limit(patience_seconds=float(value)))
        self._trust = QCheckBox(self.tr("Trust engines built elsewhere"))
        self._trust.setToolTip(
            self.tr(
                "Engines in an optimized graph can be native code. Unless they were built here, they are loaded only "
                "if you trust where the file comes from."
            )
        )
        self._trust.toggled.connect(lambda on: session.allow(engines=on))
        self._problem = label(look="error", wrap=True)
        self._problem.hide()
        grid = QGridLayout(self._fields)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(theme.SPACE)
        grid.setVerticalSpacing(theme.SMALL)
        fields = (
            (self.tr("Memory limit"), self._memory), (self.tr("Time limit"), self._time),
            (self.tr("Patience"), self._patience),
        )  # fmt: skip
        for row, (text, field) in enumerate(fields):
            name = label(text)
            name.setBuddy(field)
            name.setToolTip(field.toolTip())
            field.setFixedWidth(124)
            grid.addWidget(name, row, 0)
            grid.addWidget(field, row, 1)
        grid.addWidget(self._problem, 3, 0, 1, 2)
        grid.addWidget(self._trust, 4, 0, 1, 2)
        grid.setColumnStretch(0, 1)
        self._unfold(False)
        session.settingsChanged.connect(self._update)
        self._update()

    def _unfold(self, on: bool) -> None:
        self._fields.setVisible(on)
        self._fold.setText(("▾ " if on else "▸ ") + self.tr("Advanced"))

    def _update(self) -> None:
        limits = self._session.limits
        with QSignalBlocker(self._time), QSignalBlocker(self._patience), QSignalBlocker(self._trust):
            self._time.setValue(round(limits.time_seconds or 0))
            self._patience.setValue(round(limits.patience_seconds))
            self._trust.setChecked(self._session.consent.engines)
        if not self._problem.isVisibleTo(self._fields):
            limit = limits.memory_bytes
            self._memory.setText("" if limit is None else _size_text(limit))

    def _on_memory(self) -> None:
        text = self._memory.text().strip()
        try:
            self._session.limit(memory_bytes=parse_size(text) if text else None)
        except IcebreakerError as error:
            self._problem.setText(str(error))
            self._problem.show()
            return
        self._problem.hide()
        self._update()


class _Start(QFrame):
    """The Convert button, and Save once there is something; while something goes on, its progress and Cancel."""

    saveWanted = Signal()

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._convert = button(self.tr("Convert"), self.tr("Make the optimized graph (F5)"), "primary")
        self._convert.setFont(theme.font(1.1, bold=True))
        self._convert.clicked.connect(session.convert)
        self._measure = QCheckBox(self.tr("Then measure both graphs"))
        self._measure.setToolTip(
            self.tr("Time the original and the optimized graph in turns, as set in the Latency dock")
        )
        self._measure.setChecked(session.measure_after_convert)
        self._measure.toggled.connect(self._on_measure)
        self._why = label(look="muted", wrap=True)
        self._save = button(self.tr("Save optimized graph…"), self.tr("Keep the result under a name of yours (Ctrl+S)"))
        self._save.clicked.connect(self.saveWanted)
        ready = QWidget()
        column = QVBoxLayout(ready)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self._convert)
        column.addWidget(self._save)
        column.addWidget(self._measure)
        column.addWidget(self._why)
        self._stage = Elided(bold=True)
        self._bar = Progress()
        self._cancel = button(self.tr("Cancel"), self.tr("Stop at once and leave nothing behind (Esc)"))
        self._cancel.clicked.connect(session.cancel)
        working = QWidget()
        column = QVBoxLayout(working)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self._stage)
        row = QHBoxLayout()
        row.setSpacing(12)
        row.addWidget(self._bar, 1)
        row.addWidget(self._cancel)
        column.addLayout(row)
        column.addStretch()
        self._pages = QStackedWidget()
        self._pages.addWidget(ready)
        self._pages.addWidget(working)
        line = QFrame()
        line.setProperty("look", "line")
        line.setFixedHeight(1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(line)
        inner = QVBoxLayout()
        inner.setContentsMargins(12, theme.SMALL, 12, 12)
        inner.addWidget(self._pages)
        layout.addLayout(inner)
        for signal in (
            session.activityChanged, session.graphChanged, session.settingsChanged, session.conversionChanged,
            session.savedChanged, session.machineChanged,
        ):  # fmt: skip
            signal.connect(self._update)
        self._update()

    def _on_measure(self, on: bool) -> None:
        self._session.measure_after_convert = on

    def _update(self) -> None:
        activity = self._session.activity
        page, focused = 0 if activity is None else 1, QApplication.focusWidget()
        mine = focused is not None and (focused is self._pages or self._pages.isAncestorOf(focused))
        turned = mine and page != self._pages.currentIndex()
        self._pages.setCurrentIndex(page)
        if activity is None:
            why = self.why_not()
            self._convert.setEnabled(not why)
            self._why.setText(why)
            self._why.setVisible(bool(why))
            converted = self._session.conversion is not None
            self._save.setVisible(converted)
            fresh = self._session.unsaved and self._session.settings == self._session.converted_with
            set_look(self._save, "primary" if fresh else "")
            set_look(self._convert, "" if fresh else "primary")
            self._convert.setText(self.tr("Convert again") if converted else self.tr("Convert"))
            if turned:  # keys go on with what takes the button's place
                (self._save if fresh else self._convert).setFocus()
            return
        self._stage.setText(self.tr("Cancelling") if activity.cancelling else activity.stage)
        self._bar.set_fraction(activity.fraction)
        if self._cancel.hasFocus() and not self._session.can_cancel:
            self._pages.setFocus()  # else the focus would leave for another dock
        self._cancel.setEnabled(self._session.can_cancel)
        if turned:
            self._cancel.setFocus()

    def why_not(self) -> str:
        """Why the button is disabled, if it is."""
        if self._session.graph is None:
            return self.tr("Open a graph first.")
        if not self._session.settings.outputs:
            return self.tr("Choose at least one output.")
        settings = self._session.settings
        program = settings.precision == "int8" and (settings.quantization.calibration or "").endswith(".py")
        if program and not self._session.consent.python:
            return self.tr("The calibration data is a program: allow it to run, or choose other data.")
        if lacks_data(self._session):
            return self.tr("INT8 needs data: choose under Calibration what to calibrate on.")
        if unmet(self._session):
            return self.tr("An engine option cannot be had: see above.")
        return ""
