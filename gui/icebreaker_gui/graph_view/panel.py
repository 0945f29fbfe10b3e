"""The Graph dock: toolbar, panes for before and after, details, why-not list, search."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from PySide6.QtCore import QEvent, QPoint, QSettings, Qt, QTimer, Signal
from PySide6.QtGui import QAction, QActionGroup, QCloseEvent, QGuiApplication, QKeySequence, QStandardItemModel
from PySide6.QtWidgets import (
    QComboBox,
    QFileDialog,
    QFrame,
    QHBoxLayout,
    QLabel,
    QMenu,
    QSlider,
    QSplitter,
    QTabWidget,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from icebreaker.graph.graph import Graph
from icebreaker.reports.reports import Benchmark, Conversion
from icebreaker_gui.graph_view import export, overlays
from icebreaker_gui.graph_view.canvas.pane import Pane
from icebreaker_gui.graph_view.neighbours import neighbours, step_from
from icebreaker_gui.graph_view.painting.legend import LegendEntry
from icebreaker_gui.graph_view.painting.look import Marks
from icebreaker_gui.graph_view.painting.view import Camera
from icebreaker_gui.graph_view.sidebar.details import Details
from icebreaker_gui.graph_view.sidebar.search import SearchField, SearchPanel
from icebreaker_gui.graph_view.sidebar.why_not import WhyNot
from icebreaker_gui.graph_view.state import GraphState
from icebreaker_gui.session.background import Work
from icebreaker_gui.style import formatting, theme
from icebreaker_gui.style.widgets import Elided

BEFORE, BOTH, SLIDER, AFTER = "before", "both", "slider", "after"


class GraphPanel(QWidget):
    """Everything that shows the graph, before and after conversion."""

    nodeActivated = Signal(str)
    excludeRequested = Signal(str)
    failed = Signal(str, str)  # what could not be done, and why

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("look", "panel")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.state = GraphState(self)
        self.mode = BEFORE
        self._history: list[str] = []
        self._place = -1
        self._travelling = False
        self._bookmarks: list[str] = []
        self._saving: Work | None = None
        self.before_pane, self.after_pane = Pane(), Pane()
        self.panes = (self.before_pane, self.after_pane)
        self._build()
        for pane in self.panes:
            pane.cameraMoved.connect(self._camera_moved)
            pane.itemClicked.connect(self._clicked)
            pane.itemOpened.connect(self._opened)
            pane.itemHovered.connect(self._hovered)
            pane.menuWanted.connect(self._menu)
            pane.stepWanted.connect(self._step)
        state = self.state
        state.graphChanged.connect(self._graph_changed)
        state.scenesChanged.connect(self._scenes_changed)
        state.lookChanged.connect(self._look_changed)
        state.selectionChanged.connect(self._selection_changed)
        state.hoverChanged.connect(self._marks_changed)
        state.foundChanged.connect(self._marks_changed)
        state.busyChanged.connect(self._busy_changed)
        state.tensorsChanged.connect(self._tensors_changed)
        self.setFocusProxy(self.before_pane)
        self.set_mode(BEFORE)
        self._graph_changed()

    # ---- what the window calls --------------------------------------------------------------------------------------

    def show_graph(self, before: Graph | None, outputs: Sequence[str] = (), file: Path | None = None) -> None:
        """Shows a graph that was opened; None: there is none. `file` has the weights that it was read without."""
        self._history, self._place, self._bookmarks = [], -1, []
        for pane in self.panes:
            pane.show_picture(None)
        self.state.set_graph(before, outputs, file)
        self.set_mode(BEFORE)

    def show_conversion(self, conversion: Conversion | None, after: Graph | None) -> None:
        """Shows what a conversion made; None goes back to the graph before."""
        self.state.set_conversion(conversion, after)
        self.set_mode(BOTH if conversion else BEFORE)
        if conversion:
            self._tabs.setCurrentWidget(self.why_not)

    def show_benchmark(self, benchmark: Benchmark | None) -> None:
        """Shows where the measured time goes; None: nothing was measured."""
        self.state.set_benchmark(benchmark)
        self._fill_overlays()
        self.details.refresh()

    # ---- building ---------------------------------------------------------------------------------------------------

    def _build(self) -> None:
        bar = QHBoxLayout()
        bar.setContentsMargins(theme.SPACE, theme.SMALL, theme.SPACE, theme.SMALL)
        bar.setSpacing(theme.SMALL)
        self._modes = QActionGroup(self)
        self._mode_actions: dict[str, QAction] = {}
        for mode, words, tip in (
            (BEFORE, self.tr("Before"), self.tr("The graph as it came")),
            (BOTH, self.tr("Side by side"), self.tr("Before and after, moving together")),
            (SLIDER, self.tr("Slider"), self.tr("One view that flows from before to after")),
            (AFTER, self.tr("After"), self.tr("The optimized graph; open an engine to see inside")),
        ):
            action = QAction(words, self)
            action.setCheckable(True)
            action.setToolTip(tip)
            action.setActionGroup(self._modes)
            action.triggered.connect(lambda _checked=False, mode=mode: self.set_mode(mode))
            self._mode_actions[mode] = action
            bar.addWidget(self._button(action))
        bar.addSpacing(theme.SPACE)
        self._overlay = QComboBox()
        self._overlay_rows = QStandardItemModel(self)
        self._overlay.setModel(self._overlay_rows)
        self._overlay.setToolTip(self.tr("What the colours mean"))
        self._overlay.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self._overlay.setMinimumContentsLength(15)  # more would press upon the docks; the list is as wide as it needs
        self._overlay.setAccessibleName(self.tr("Overlay"))
        self._overlay.activated.connect(lambda row: self.state.set_overlay(self._overlay.itemData(row)))
        bar.addWidget(self._overlay)
        self._busy = Elided(color="muted")  # words that come and go must not press upon the docks
        bar.addWidget(self._busy, 1)
        self.search_field = SearchField()
        self.search_field.setPlaceholderText(self.tr("Find name, op or attribute"))
        self.search_field.setClearButtonEnabled(True)
        self.search_field.setMaximumWidth(240)
        self.search_field.setMinimumWidth(110)
        self.search_field.setAccessibleName(self.tr("Search the graph"))
        bar.addWidget(self.search_field, 3)
        self._action(self.tr("−"), self.tr("Zoom out"), lambda: self._pane().zoom(0.8), bar, "Ctrl+-")
        self._action(self.tr("+"), self.tr("Zoom in"), lambda: self._pane().zoom(1.25), bar, "Ctrl++")
        self.fit_action = self._action(self.tr("Fit"), self.tr("Show the whole graph (Home)"), self.fit, bar)
        more = QToolButton()
        more.setText(self.tr("View"))
        more.setToolTip(self.tr("Open, close, show, export"))
        more.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        more.setMenu(self._more_menu())
        bar.addWidget(more)
        self._crumb_row = QWidget()
        self._crumbs = QHBoxLayout(self._crumb_row)
        self._crumbs.setContentsMargins(theme.SPACE, 0, theme.SPACE, theme.SMALL)
        self._crumbs.setSpacing(0)
        self.back_action = self._action("‹", self.tr("Back"), lambda: self._travel(-1), self._crumbs, "Alt+Left")
        self.forward_action = self._action("›", self.tr("Forward"), lambda: self._travel(1), self._crumbs, "Alt+Right")
        self._crumbs.addSpacing(theme.SPACE)
        self._path = QLabel()
        self._path.setProperty("look", "muted")
        self._path.setTextFormat(Qt.TextFormat.RichText)
        self._path.linkActivated.connect(self._crumb)
        self._path.setMinimumWidth(10)
        self._crumbs.addWidget(self._path, 1)
        self._split = QSplitter(Qt.Orientation.Horizontal)
        self._split.setHandleWidth(4)
        for pane in self.panes:
            self._split.addWidget(pane)
        self._split.setChildrenCollapsible(False)
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setRange(0, 1000)
        self.slider.setPageStep(100)
        self.slider.setAccessibleName(self.tr("From before to after"))
        self.slider.valueChanged.connect(self._slid)
        self._slider_row = QFrame()
        row = QHBoxLayout(self._slider_row)
        row.setContentsMargins(theme.LARGE, theme.SPACE, theme.LARGE, theme.SPACE)
        row.addWidget(QLabel(self.tr("Before")))
        row.addWidget(self.slider, 1)
        row.addWidget(QLabel(self.tr("After")))
        views = QWidget()
        column = QVBoxLayout(views)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self._split, 1)
        column.addWidget(self._slider_row)
        self.details = Details(self.state)
        self.why_not = WhyNot(self.state)
        self.search_panel = SearchPanel(self.state, self.search_field)
        self._tabs = QTabWidget()
        self._tabs.setDocumentMode(True)
        self._tabs.addTab(self.details, self.tr("Details"))
        self._tabs.addTab(self.why_not, self.tr("Why not"))
        self._tabs.addTab(self.search_panel, self.tr("Search"))
        self._tabs.setMinimumWidth(200)
        self._outer = QSplitter(Qt.Orientation.Horizontal)
        self._outer.addWidget(views)
        self._outer.addWidget(self._tabs)
        self._outer.setStretchFactor(0, 1)
        self._outer.setStretchFactor(1, 0)
        self._outer.setSizes([740, 300])
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addLayout(bar)
        layout.addWidget(self._crumb_row)
        layout.addWidget(self._outer, 1)
        self.details.jumpWanted.connect(self.go_to)
        self.details.excludeWanted.connect(self.excludeRequested)
        self.why_not.jumpWanted.connect(self.go_to)
        self.why_not.hoverWanted.connect(self.state.hover)
        self.why_not.reasonWanted.connect(self.state.set_found)
        self.search_panel.jumpWanted.connect(self.go_to)
        self.search_field.textEdited.connect(lambda _text: self._tabs.setCurrentWidget(self.search_panel))
        find = QAction(self.tr("Find"), self)
        find.setShortcut(QKeySequence.StandardKey.Find)
        find.triggered.connect(self._find)
        self.addAction(find)
        for keys, by in ((QKeySequence.StandardKey.FindNext, 1), (QKeySequence.StandardKey.FindPrevious, -1)):
            action = QAction(self)
            action.setShortcut(keys)
            action.triggered.connect(lambda _checked=False, by=by: self.search_panel.step(by))
            self.addAction(action)

    def _button(self, action: QAction) -> QToolButton:
        # Not its default action: Qt 6.11 connects that once more whenever the action changes, and never lets go.
        button = QToolButton()
        button.setText(action.text())
        button.setToolTip(action.toolTip())
        button.setCheckable(action.isCheckable())
        button.setFocusPolicy(Qt.FocusPolicy.TabFocus)

        def follow() -> None:
            button.setEnabled(action.isEnabled())
            button.setChecked(action.isChecked())

        def press() -> None:
            action.trigger()
            follow()  # the button has toggled itself, whatever became of the action

        action.changed.connect(follow)
        button.clicked.connect(press)
        follow()
        return button

    def _action(self, words: str, tip: str, do: Callable[[], object], row: QHBoxLayout, keys: str = "") -> QAction:
        action = QAction(words, self)
        if keys:
            action.setShortcut(QKeySequence(keys))
            tip = f"{tip} ({QKeySequence(keys).toString(QKeySequence.SequenceFormat.NativeText)})"
        action.setToolTip(tip)
        action.triggered.connect(lambda _checked=False: do())
        self.addAction(action)
        button = self._button(action)
        button.setAccessibleName(tip)
        row.addWidget(button)
        return action

    def _more_menu(self) -> QMenu:
        menu = QMenu(self)
        menu.addAction(self.tr("Open all groups"), self.state.open_all)
        menu.addAction(self.tr("Close all groups"), self.state.close_all)
        menu.addSeparator()
        folded = menu.addAction(self.tr("Show constants and identities"))
        folded.setCheckable(True)
        folded.toggled.connect(self.state.set_show_folded)
        self.sideways_action = menu.addAction(self.tr("From left to right"))
        self.sideways_action.setCheckable(True)
        self.sideways_action.toggled.connect(self._turn)
        self.sideways_action.setChecked(QSettings().value("graph/sideways", False, bool) is True)
        self._sidebar_action = menu.addAction(self.tr("Side panel"))
        self._sidebar_action.setCheckable(True)
        self._sidebar_action.setChecked(True)
        self._sidebar_action.toggled.connect(lambda shown: self._tabs.setVisible(shown))
        menu.addSeparator()
        self._bookmark_menu = menu.addMenu(self.tr("Bookmarks"))
        self._bookmark_menu.aboutToShow.connect(self._fill_bookmarks)
        menu.addSeparator()
        menu.addAction(self.tr("Save picture of the view …"), lambda: self.save_picture(whole=False))
        menu.addAction(self.tr("Save picture of the whole graph …"), lambda: self.save_picture(whole=True))
        menu.addAction(self.tr("Save for TensorBoard and Netron …"), self.save_files)
        return menu

    def _turn(self, sideways: bool) -> None:
        QSettings().setValue("graph/sideways", sideways)
        self.state.set_sideways(sideways)
        if hasattr(self, "_slider_row"):
            self.set_mode(self.mode)
            QTimer.singleShot(0, self._fit_shown)  # when the panes have their new sizes

    def _fit_shown(self) -> None:
        for pane in self._shown():
            pane.fit(animated=False)

    # ---- modes ------------------------------------------------------------------------------------------------------

    def set_mode(self, mode: str) -> None:
        """Shows BEFORE, BOTH, SLIDER or AFTER; all but BEFORE need a conversion."""
        converted = self.state.data.conversion is not None
        if mode != BEFORE and not converted:
            mode = BEFORE
        self.mode = mode
        for name, action in self._mode_actions.items():
            action.setEnabled(name == BEFORE or converted)
            action.setChecked(name == mode)
        self.state.want_after(mode == AFTER)
        self.before_pane.setVisible(mode in (BEFORE, BOTH, SLIDER))
        self.after_pane.setVisible(mode in (BOTH, AFTER))
        self._slider_row.setVisible(mode == SLIDER)
        self.before_pane.set_morph(self.slider.value() / 1000 if mode == SLIDER else 0.0)
        # An engine that was opened in the graph after shows its inside.
        self.after_pane.set_morph(0.0 if mode == AFTER else 1.0)
        # What is wide goes one below the other.
        across = Qt.Orientation.Vertical if self.state.sideways else Qt.Orientation.Horizontal
        self._split.setOrientation(across)
        if mode == BOTH:
            self._split.setSizes([1000, 1000])
        self._scenes_changed("")

    def _slid(self, value: int) -> None:
        if self.mode == SLIDER:
            before = self._shows_after(self.before_pane)
            self.before_pane.set_morph(value / 1000)
            if self._shows_after(self.before_pane) != before and self.state.overlay_name == "time":
                self._look_changed()
            self._titles()

    def _shows_after(self, pane: Pane) -> bool:
        """Whether a pane shows more of the graph after than of the one before."""
        return self.mode == AFTER or pane.morph > 0.5

    def _pane(self) -> Pane:
        """The pane that keys and buttons are meant for."""
        if self.mode == AFTER or (self.mode == BOTH and self.after_pane.hasFocus()):
            return self.after_pane
        return self.before_pane

    def _shown(self) -> list[Pane]:
        return {BOTH: [self.before_pane, self.after_pane], AFTER: [self.after_pane]}.get(self.mode, [self.before_pane])

    def fit(self) -> None:
        """Shows the whole graph."""
        self._pane().fit()

    # ---- state changed ----------------------------------------------------------------------------------------------

    def _graph_changed(self) -> None:
        empty = self.state.data.graph is None
        self.before_pane.empty_text = self.tr("Open a frozen graph to see it here.") if empty else ""
        self.after_pane.empty_text = self.before_pane.empty_text
        self._fill_overlays()
        self._titles()
        self._breadcrumbs()

    def _tensors_changed(self) -> None:
        self._fill_overlays()
        self.details.refresh()
        for pane in self.panes:
            pane.update()

    def _fill_overlays(self) -> None:
        self._overlay.clear()
        usable = overlays.available(self.state.data)
        for name, words in overlays.OVERLAYS.items():
            if name in usable:
                self._overlay.addItem(overlays.tr(words), name)
            elif name == "time":  # shown all the same: else nobody would look for it
                self._overlay.addItem(self.tr("Measured time: press Measure"), name)
                self._overlay_rows.item(self._overlay.count() - 1).setEnabled(False)
        self._overlay.view().setMinimumWidth(self._overlay.view().sizeHintForColumn(0) + theme.HUGE)
        self._overlay.setCurrentIndex(max(0, self._overlay.findData(self.state.overlay_name)))
        self._overlay.setEnabled(self.state.data.graph is not None)

    def _scenes_changed(self, anchor: str) -> None:
        state = self.state
        for pane in self._shown():
            scene = state.after_scene if self.mode == AFTER and state.alone else state.scene
            if scene is None:
                if self.mode != AFTER or state.scene is None:
                    pane.show_picture(None)
                continue
            look, legend = state.look(scene.outline, self._shows_after(pane))
            if pane.picture is None or pane.picture.scene is not scene or pane.picture.look is not look:
                picture = state.picture(scene, self._shows_after(pane))
                pane.show_picture(picture, state.item(scene.outline, anchor) if anchor else -1)
            self._show_legend(pane, legend)
        if self.mode == BOTH and self.before_pane.picture:
            self.after_pane.set_camera(self.before_pane.camera)
        self._titles()
        self._marks_changed()

    def _look_changed(self) -> None:
        for pane in self._shown():
            if pane.picture:
                look, legend = self.state.look(pane.picture.scene.outline, self._shows_after(pane))
                pane.show_look(look)
                self._show_legend(pane, legend)
        row = self._overlay.findData(self.state.overlay_name)
        if row >= 0:
            self._overlay.setCurrentIndex(row)

    def _show_legend(self, pane: Pane, legend: list[LegendEntry]) -> None:
        # The why-not list tells the same.
        told = self.state.overlay_name == "conversion" and self._tabs.isVisibleTo(self)
        own = pane is self._shown()[0] or self.state.overlay_name == "time"
        pane.show_legend(legend if own else [], told)

    def _titles(self) -> None:
        state = self.state
        if state.data.graph is None:
            return
        words = self.tr("{n} node"), self.tr("{n} nodes")
        before = formatting.count(len(state.data.graph), *words)
        after = formatting.count(len(state.data.after), *words) if state.data.after is not None else ""
        if state.data.conversion:
            after += (" · " if after else "") + self.tr("{share} in engines").format(
                share=formatting.percent(state.data.conversion.coverage)
            )
        self.after_pane.show_title(self.tr("After"), after, "optimized")
        if self.mode == SLIDER and self.slider.value() > 500:
            self.before_pane.show_title(self.tr("After"), after, "optimized")
        else:
            self.before_pane.show_title(self.tr("Before"), before, "original")

    def _selection_changed(self) -> None:
        key = self.state.selected
        if key and not self._travelling:
            del self._history[self._place + 1 :]
            if not self._history or self._history[-1] != key:
                self._history.append(key)
            self._place = len(self._history) - 1
        self.back_action.setEnabled(self._place > 0)
        self.forward_action.setEnabled(self._place < len(self._history) - 1)
        if key:
            self._tabs.setCurrentWidget(self.details)
        self._breadcrumbs()
        self._marks_changed()
        graph = self.state.data.graph
        if key and graph is not None:
            words = f"{graph[key].op} {key}" if key in graph else key.rstrip("/")
            left = self.state.data.left.get(key)
            self._pane().say(f"{words}. {left.reason}" if left else words)
            self.nodeActivated.emit(key)

    def _marks_changed(self) -> None:
        state = self.state
        for pane in self._shown():
            if pane.picture is None:
                continue
            outline = pane.picture.scene.outline
            selected = state.item(outline, state.selected)
            lit: set[int] = set()
            if selected >= 0:
                home = int(outline.segment_of[selected])
                if home >= 0 and selected != home:
                    lit.add(home)
                elif home >= 0 and pane.morph < 1:
                    lit.update(member for member in outline.members[home])
            pane.set_marks(
                Marks(
                    selected, state.item(outline, state.hovered), frozenset(lit),
                    frozenset(item for key in state.found if (item := state.item(outline, key)) >= 0),
                )
            )  # fmt: skip

    def _busy_changed(self, words: str) -> None:
        self._busy.setText(words, "muted")

    # ---- gestures ---------------------------------------------------------------------------------------------------

    def _camera_moved(self, camera: Camera) -> None:
        if self.mode == BOTH:
            other = self.after_pane if self.sender() is self.before_pane else self.before_pane
            other.set_camera(camera)

    def _key(self, item: int) -> str:
        pane = self.sender()
        if item < 0 or not isinstance(pane, Pane) or pane.picture is None:
            return ""
        return pane.picture.scene.outline.keys[item]

    def _clicked(self, item: int) -> None:
        self.state.select(self._key(item))

    def _opened(self, item: int) -> None:
        key = self._key(item)
        if key:
            self.state.toggle(key)

    def _hovered(self, item: int) -> None:
        self.state.hover(self._key(item))

    def _step(self, way: str) -> None:
        pane = self.sender()
        if isinstance(pane, Pane) and pane.picture:
            outline = pane.picture.scene.outline
            here = self.state.item(outline, self.state.selected)
            item = step_from(pane.picture.scene, here, way, pane.camera, after=pane.morph > 0.5)
            if item >= 0:
                self.state.select(outline.keys[item])
                pane.reveal(item)

    def go_to(self, key: str) -> None:
        """Chooses an item, opens the groups around it and brings it into sight."""
        state = self.state
        side = state.side
        if side is None:
            return
        item = state.item(side.outline, key)
        if item < 0:
            return
        if key in side.outline.leaf and side.outline.keys[item] != key:
            state.open_to(side.outline.keys[item])  # a folded node is shown by its host
        else:
            state.open_to(key)
        state.select(key)
        pane = self._pane()
        if pane.picture:
            pane.reveal(state.item(pane.picture.scene.outline, key))

    def _travel(self, by: int) -> None:
        place = self._place + by
        if 0 <= place < len(self._history):
            self._place = place
            self._travelling = True
            self.go_to(self._history[place])
            self._travelling = False
            self.back_action.setEnabled(self._place > 0)
            self.forward_action.setEnabled(self._place < len(self._history) - 1)

    def _find(self) -> None:
        self._tabs.setCurrentWidget(self.search_panel)
        self.search_field.setFocus(Qt.FocusReason.ShortcutFocusReason)
        self.search_field.selectAll()

    def _breadcrumbs(self) -> None:
        state, side = self.state, self.state.side
        self._crumb_row.setVisible(bool(self._history))
        if side is None or not state.selected:
            self._path.setText("")
            return
        outline = side.outline
        item = state.item(outline, state.selected)
        if item < 0:
            self._path.setText("")
            return
        parts = [(outline.labels[group], outline.keys[group]) for group in reversed(outline.ancestors(item)) if group]
        parts.append((outline.labels[item], outline.keys[item]))
        color = theme.current().muted
        self._path.setText(
            f"<span style='color:{color}'> › </span>".join(
                f"<a style='color:{color};text-decoration:none' href='{_escape(key)}'>{_escape(label)}</a>"
                for label, key in parts
            )
        )

    def _crumb(self, key: str) -> None:
        self.go_to(key)

    def _menu(self, item: int, at: QPoint) -> None:
        key, pane = self._key(item), self.sender()
        state, graph = self.state, self.state.data.graph
        menu = QMenu(self)
        if key and isinstance(pane, Pane) and pane.picture:
            state.select(key)
            if pane.picture.scene.outline.members[item]:
                menu.addAction(self.tr("Open or close"), lambda: state.toggle(key))
                menu.addAction(self.tr("Fit to view"), lambda: self._pane().fit(item=item))
            menu.addAction(self.tr("Copy name"), lambda: QGuiApplication.clipboard().setText(key))
            if key in self._bookmarks:
                menu.addAction(self.tr("Remove bookmark"), lambda: self._bookmarks.remove(key))
            else:
                menu.addAction(self.tr("Bookmark"), lambda: self._bookmarks.append(key))
            near = menu.addMenu(self.tr("Neighbours within"))
            for hops in (1, 2, 3):
                near.addAction(self.tr("{n} hops").format(n=hops), lambda hops=hops: self.mark_neighbours(key, hops))
            if graph is not None and key in graph:
                node = graph[key]
                if node.inputs:
                    inputs = menu.addMenu(self.tr("Follow an input"))
                    for tensor in node.inputs[:30]:
                        inputs.addAction(str(tensor), lambda name=tensor.node: self.go_to(name))
                readers = graph.consumers[key]
                if readers:
                    outputs = menu.addMenu(self.tr("Follow an output"))
                    for name in readers[:30]:
                        outputs.addAction(name, lambda name=name: self.go_to(name))
                menu.addSeparator()
                menu.addAction(self.tr("Leave this node in TensorFlow"), lambda: self.excludeRequested.emit(key))
        else:
            menu.addAction(self.tr("Fit"), self.fit)
            menu.addAction(self.tr("Open all groups"), state.open_all)
            menu.addAction(self.tr("Close all groups"), state.close_all)
        menu.exec(at)

    def mark_neighbours(self, key: str, hops: int) -> None:
        """Marks what is within so many edges of a node or group."""
        outline = self.state.shared.outline if self.state.shared else None
        if outline is not None:
            self.state.set_found(neighbours(outline, self.state.item(outline, key), hops))

    def _fill_bookmarks(self) -> None:
        self._bookmark_menu.clear()
        for key in self._bookmarks:
            self._bookmark_menu.addAction(key.rstrip("/"), lambda key=key: self.go_to(key))
        if not self._bookmarks:
            action = self._bookmark_menu.addAction(self.tr("None yet: right click a node"))
            action.setEnabled(False)

    # ---- pictures ---------------------------------------------------------------------------------------------------

    def save_picture(self, whole: bool, path: str = "") -> None:
        """Saves PNG, SVG or PDF of the view or of the whole graph; asks for a name where none is given."""
        pane = self._pane()
        if self._saving or pane.picture is None:
            return
        if not path:
            path, _ = QFileDialog.getSaveFileName(
                self, self.tr("Save picture"), "graph.png", self.tr("Pictures (*.png *.svg *.pdf)")
            )
            if path and not Path(path).suffix:
                path += ".png"
        if path and pane.picture is not None:
            legend = self.state.look(pane.picture.scene.outline, self._shows_after(pane))[1]
            shot = export.Shot.of(pane, pane.picture, legend, whole)
            self._save(self.tr("The picture could not be saved"), lambda: export.save(Path(path), shot))

    def save_files(self, folder: str = "") -> None:
        """Saves before and after as files that TensorBoard and Netron open."""
        graph, after, made = self.state.data.graph, self.state.data.after, self.state.data.conversion
        if graph is None or self._saving:
            return
        folder = folder or QFileDialog.getExistingDirectory(self, self.tr("Save for TensorBoard and Netron"))
        if folder:
            files = self.state.data.file, Path(made.output) if made and made.output else None
            self._save(
                self.tr("The files could not be saved"), lambda: export.save_files(Path(folder), graph, after, *files)
            )

    def _save(self, failure: str, do: Callable[[], object]) -> None:
        """Does it in a thread; `failed` tells if it could not be done, with these words first."""
        self._busy.setText(self.tr("Saving"), "muted")
        self._saving = Work(self, partial(self._on_saved, failure)).run_thread(do)

    def _on_saved(self, failure: str, batch: list[Any]) -> None:
        self._busy.setText("", "muted")
        if self._saving:
            self._saving.wait(1)
            self._saving = None
        if isinstance(batch[0], Exception):
            self.failed.emit(failure, str(batch[0]))

    def changeEvent(self, event: QEvent) -> None:
        """Follows light and dark."""
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "why_not"):
            self.state.restyle()
            self.details.refresh()
            self._breadcrumbs()
        super().changeEvent(event)

    def closeEvent(self, event: QCloseEvent) -> None:
        """Stops work in the background; what is being saved is saved."""
        self.state.close()
        if self._saving:
            self._saving.wait(30)
        super().closeEvent(event)


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("'", "&#39;")
