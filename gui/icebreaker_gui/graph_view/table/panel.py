"""The table of ops, of engines' layers and of op types: sorted, filtered, linked to the graph, copied and saved."""

from __future__ import annotations

from typing import Any, NamedTuple

from PySide6.QtCore import QItemSelectionModel, QPoint, Qt, QTimer, Signal
from PySide6.QtGui import QGuiApplication, QKeySequence, QShortcut, QShowEvent
from PySide6.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QHBoxLayout,
    QLineEdit,
    QMenu,
    QSizePolicy,
    QTabBar,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from icebreaker.graph import costs
from icebreaker_gui.graph_view.state import GraphState
from icebreaker_gui.graph_view.table.model import Bars, SheetModel
from icebreaker_gui.graph_view.table.sheets import (
    Sheet,
    comma_separated,
    layers_sheet,
    ops_sheet,
    tab_separated,
    types_sheet,
)
from icebreaker_gui.session.background import Work
from icebreaker_gui.style import formatting, theme
from icebreaker_gui.style.widgets import Elided, button, label

OPS, LAYERS, TYPES = range(3)
_LARGE = 5000  # rows; more are filtered and sorted beside the window


class _View(NamedTuple):
    """What the user wants to see of a sheet."""

    text: str
    everything: bool
    column: str
    falling: bool


def _arranged(sheet: Sheet, view: _View) -> list[int]:
    return sheet.sorted(sheet.filtered(view.text, view.everything), view.column, view.falling)


class OpTable(QWidget):
    """The panel."""

    jumpWanted = Signal(str)
    fileWanted = Signal(str, object)  # a name for a file, and what gives its content
    constantWanted = Signal(str)  # name of a constant to be saved

    def __init__(self, state: GraphState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._state = state
        self._sheets: list[Sheet] = [Sheet(), Sheet(), Sheet()]
        self._orders: list[tuple[str, bool]] = [("", True)] * 3
        self._is_stale = True
        self._is_following = False
        self._turn = 0
        self.model = SheetModel()
        self._make_controls()
        self._make_view()
        self._arrange_parts()
        self._soon = QTimer(self, singleShot=True, interval=0)
        self._soon.timeout.connect(self._rebuild)
        self._typed = QTimer(self, singleShot=True, interval=80)  # between two keys
        self._typed.timeout.connect(self._rearrange)
        for signal in (state.graphChanged, state.factsChanged, state.tensorsChanged):
            signal.connect(self._outdated)
        state.selectionChanged.connect(self._follow)
        self._tell()

    # ---- its parts --------------------------------------------------------------------------------------------------

    def _make_controls(self) -> None:
        self.tabs = QTabBar()
        for words in (self.tr("Ops"), self.tr("Engine layers"), self.tr("By type")):
            self.tabs.addTab(words)
        self.tabs.setAccessibleName(self.tr("What the table lists"))
        self.tabs.setToolTip(self.tr("What the table lists"))
        self.tabs.setUsesScrollButtons(False)
        self.tabs.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self.tabs.currentChanged.connect(self._turn_over)
        self.filter = QLineEdit()
        self.filter.setPlaceholderText(self.tr("Filter by name, op, precision, layer"))
        self.filter.setClearButtonEnabled(True)
        self.filter.setMaximumWidth(280)
        self.filter.setMinimumWidth(90)
        self.filter.setToolTip(self.tr("Shows the rows with each of these words; op:Relu: the ops of that type"))
        self.filter.setAccessibleName(self.tr("Filter the table"))
        self.filter.textChanged.connect(lambda _text: self._typed.start())
        self.everything = QCheckBox(self.tr("&Constants"))
        self.everything.setToolTip(self.tr("Shows also constants, inputs, and what only hands values on"))
        self.everything.toggled.connect(lambda _on: self._rearrange())
        self._summary = Elided(color="muted")  # it gives way to the controls
        self._copy = button(self.tr("Cop&y"), self.tr("Copies the chosen rows, or all that are shown (Ctrl+C)"))
        self._copy.clicked.connect(self.copy)
        self._save = button(self.tr("Save CS&V…"), self.tr("Saves the rows that are shown as a file for spreadsheets"))
        self._save.clicked.connect(self._ask_to_save)

    def _make_view(self) -> None:
        self.view = view = QTableView()
        view.setModel(self.model)
        view.setItemDelegate(Bars(view))
        view.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        view.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        view.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        view.setShowGrid(False)
        view.setAlternatingRowColors(True)
        view.setWordWrap(False)
        view.setTextElideMode(Qt.TextElideMode.ElideMiddle)  # names differ at their ends
        view.setTabKeyNavigation(False)
        view.setToolTip(self.tr("Choose a row to see it in the graph"))
        view.setAccessibleName(self.tr("Ops and layers"))
        view.verticalHeader().hide()
        view.verticalHeader().setDefaultSectionSize(theme.CONTROL_HEIGHT - theme.SMALL)
        head = view.horizontalHeader()
        head.setHighlightSections(False)
        head.setResizeContentsPrecision(40)  # rows looked at
        head.setSortIndicatorClearable(True)
        head.setSortIndicator(-1, Qt.SortOrder.DescendingOrder)
        view.setSortingEnabled(True)
        self.model.sortWanted.connect(self._sort)
        view.selectionModel().currentRowChanged.connect(lambda _now, _before: self._chosen())
        view.doubleClicked.connect(lambda _index: self._open())
        view.activated.connect(lambda _index: self._open())
        view.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        view.customContextMenuRequested.connect(self._menu)
        copy = QShortcut(QKeySequence(QKeySequence.StandardKey.Copy), view)
        copy.setContext(Qt.ShortcutContext.WidgetShortcut)
        copy.activated.connect(self.copy)

    def _arrange_parts(self) -> None:
        row = QHBoxLayout()
        row.setSpacing(theme.SPACE)
        row.addWidget(self.tabs)
        row.addWidget(self.filter, 1)
        row.addWidget(self.everything)
        row.addWidget(self._summary, 2)
        row.addWidget(self._copy)
        row.addWidget(self._save)
        self._empty = label(look="muted", wrap=True)
        self._empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(theme.SPACE, theme.SMALL, theme.SPACE, theme.SPACE)
        layout.setSpacing(theme.SMALL)
        layout.addLayout(row)
        layout.addWidget(self.view, 1)
        layout.addWidget(self._empty, 1)
        self.setFocusProxy(self.view)

    # ---- filling ----------------------------------------------------------------------------------------------------

    def showEvent(self, event: QShowEvent) -> None:
        """Fills the table the first time that it is seen: nobody waits for what nobody sees."""
        super().showEvent(event)
        if self._is_stale:
            self._soon.start()

    def _outdated(self) -> None:
        self._is_stale = True
        if self.isVisible():
            self._soon.start()

    def _rebuild(self) -> None:
        """Makes the sheets anew from what is known now."""
        self._is_stale = False
        state = self._state
        data, view, shown = state.data, self._wanted(), self.tabs.currentIndex()
        inner = state.shared.outline.inner if state.shared else {}

        def make() -> tuple[list[Sheet], list[int]]:
            ops = ops_sheet(data, inner, lambda: self._state.data is not data)
            sheets = [ops, layers_sheet(data), types_sheet(ops) if ops.columns else Sheet()]
            return sheets, _arranged(sheets[shown], view)

        def then(made: tuple[list[Sheet], list[int]]) -> None:
            if state.data is data:
                self._sheets, rows = made
                self.tabs.setTabEnabled(LAYERS, len(self._sheets[LAYERS]) > 0)
                if shown == self.tabs.currentIndex() and view == self._wanted():
                    self._show(rows)
                else:
                    self._rearrange()

        self._run(make, then)

    def _wanted(self) -> _View:
        column, falling = self._orders[self.tabs.currentIndex()]
        if not column:
            column = "share" if "share" in self._sheet().columns else ""
        everything = self.everything.isChecked() or self.tabs.currentIndex() == LAYERS
        return _View(self.filter.text(), everything, column, falling)

    def _sheet(self) -> Sheet:
        return self._sheets[self.tabs.currentIndex()]

    def _rearrange(self) -> None:
        """Filters and sorts anew."""
        sheet, view = self._sheet(), self._wanted()
        if len(sheet) <= _LARGE:
            self._turn += 1  # what is still under way is older
            self._show(_arranged(sheet, view))
        else:
            self._run(lambda: _arranged(sheet, view), lambda rows: self._show(rows) if sheet is self._sheet() else None)

    def _run(self, make: Any, then: Any) -> None:
        """Does something in a thread, and what follows here; only the newest counts."""
        self._turn += 1
        turn = self._turn

        def arrived(batch: list[Any]) -> None:
            if turn == self._turn:
                if isinstance(batch[0], Exception):
                    raise batch[0]
                then(batch[0])

        Work(self, arrived).run_thread(make, "table")

    def _show(self, rows: list[int]) -> None:
        sheet, is_new = self._sheet(), self.model.sheet is not self._sheet()
        self._is_following = True
        self.model.show(sheet, rows)
        self._is_following = False
        if is_new:
            self._size_columns()
        self._show_order()
        self._tell()
        self._follow()

    def _size_columns(self) -> None:
        """As wide as what is in them, within bounds: names can be read, and what is left over goes to the last."""
        view, head = self.view, self.view.horizontalHeader()
        last = self.model.columnCount() - 1
        head.setStretchLastSection(False)
        view.resizeColumnsToContents()
        for number in range(last + 1):
            least, most = (180, max(180, view.width() // 4)) if number == 0 else (56, 120)
            head.resizeSection(number, max(least, min(most, head.sectionSize(number))))
        if last >= 0 and self.model.column(last).text is None:
            head.setStretchLastSection(True)

    def _show_order(self) -> None:
        view = self._wanted()
        head = self.view.horizontalHeader()
        head.blockSignals(True)  # it is in this order already
        order = Qt.SortOrder.DescendingOrder if view.falling else Qt.SortOrder.AscendingOrder
        head.setSortIndicator(self.model.number(view.column), order)
        head.blockSignals(False)

    def _tell(self) -> None:
        """How many rows, and what they sum up to; or what to do to see some."""
        sheet, rows = self._sheet(), self.model.rows
        there = len(sheet) > 0
        self.view.setVisible(there)
        self._empty.setVisible(not there)
        for control in (self.filter, self.everything, self._copy, self._save):
            control.setEnabled(there)
        self.everything.setVisible(self.tabs.currentIndex() != LAYERS)
        self._empty.setText(
            self.tr("Open a graph to see what each of its ops takes.") if self._state.data.graph is None
            else self.tr("Counting what each op takes …")
        )  # fmt: skip
        words = [self.tr("{shown} of {all} rows").format(shown=f"{len(rows):,}", all=f"{len(sheet):,}")]
        if self._state.data.costs and self._state.data.graph is not None:
            if "now" not in sheet.columns and "before" not in sheet.columns:
                words.append(self.tr("press Measure for times"))
            total = costs.totals_of(self._state.data.graph, self._state.data.costs)
            words.append(self.tr("{n} FLOPs a row").format(n=formatting.short_number(total.flops)))
            words.append(self.tr("{n} parameters").format(n=formatting.short_number(total.parameters)))
        self._summary.setText(" · ".join(words) if there else "")

    # ---- what the user does -----------------------------------------------------------------------------------------

    def _turn_over(self) -> None:
        self._rearrange()

    def _sort(self, column: str, falling: bool) -> None:
        self._orders[self.tabs.currentIndex()] = (column, falling)
        self._rearrange()

    def _key(self) -> str:
        """What the current row is in the graph."""
        row = self.view.currentIndex().row()
        return self.model.sheet.keys[self.model.rows[row]] if 0 <= row < len(self.model.rows) else ""

    def _chosen(self) -> None:
        if self._is_following:
            return
        if self.tabs.currentIndex() == TYPES:
            self._state.set_found(self._members())
        elif key := self._key():
            self.jumpWanted.emit(self._shown(key))

    def _shown(self, key: str) -> str:
        """What stands for a row in the graph: before and after share places in which layers are not drawn."""
        side, sheet = self._state.side, self.model.sheet
        if side is None or self.tabs.currentIndex() != LAYERS or self._state.item(side.outline, key) >= 0:
            return key
        ops = [name for name, row in sheet.places.items() if sheet.keys[row] == key and name != key]
        engine = side.outline.segments.get(key.rpartition(" layer ")[0])
        return ops[0] if ops else side.outline.keys[engine] if engine is not None else key

    def _members(self) -> list[str]:
        """The ops of the current type."""
        row = self.view.currentIndex().row()
        if not 0 <= row < len(self.model.rows):
            return []
        ops, place = self._sheets[OPS], self.model.rows[row]
        return [key for key in ops.keys if self.model.sheet.places.get(key) == place]

    def _open(self) -> None:
        """Shows the ops of a type, or a row in the graph once more."""
        if self.tabs.currentIndex() == TYPES:
            op = self.model.sheet.columns["op"].cell(self.model.rows[self.view.currentIndex().row()])
            self.everything.setChecked(self.everything.isChecked() or self.model.sheet.quiet[self.model.rows[
                self.view.currentIndex().row()]])  # fmt: skip
            self.tabs.setCurrentIndex(OPS)
            self.filter.setText(f"op:{op}")
        elif key := self._key():
            self.jumpWanted.emit(self._shown(key))

    def _follow(self) -> None:
        """Shows the row of what is chosen in the graph."""
        key = self._state.selected
        sheet = self.model.sheet
        place = sheet.places.get(key, -1)
        selection = self.view.selectionModel()
        here = self.view.currentIndex().row()
        if not self.isVisible() or (0 <= here < len(self.model.rows) and self.model.rows[here] == place):
            return
        self._is_following = True
        try:
            row = self.model.rows.index(place) if place >= 0 else -1
        except ValueError:  # filtered away
            row = -1
        if row < 0:
            selection.clear()
        else:
            index = self.model.index(row, 0)
            flags = QItemSelectionModel.SelectionFlag
            selection.setCurrentIndex(index, flags.ClearAndSelect | flags.Rows)
            self.view.scrollTo(index)
        self._is_following = False

    def copy(self) -> None:
        """Puts the chosen rows on the clipboard, or all that are shown if none is."""
        chosen = sorted(index.row() for index in self.view.selectionModel().selectedRows())
        rows = [self.model.rows[row] for row in chosen] or list(self.model.rows)
        if rows:
            QGuiApplication.clipboard().setText(tab_separated(self.model.sheet, rows))

    def _ask_to_save(self) -> None:
        sheet, rows = self.model.sheet, list(self.model.rows)
        name = ("ops.csv", "layers.csv", "types.csv")[self.tabs.currentIndex()]
        self.fileWanted.emit(name, lambda: comma_separated(sheet, rows))

    def _menu(self, at: QPoint) -> None:
        index = self.view.indexAt(at)
        if not index.isValid():
            return
        menu = QMenu(self)
        menu.addAction(self.tr("&Copy"), self.copy)
        graph, key = self._state.data.graph, self._key()
        if graph is not None and key in graph and graph[key].op == "Const":
            menu.addAction(self.tr("&Save the values as .npy…"), lambda: self.constantWanted.emit(key))
        menu.exec(self.view.viewport().mapToGlobal(at))
        menu.deleteLater()
