"""The Graph dock: toolbar, panes for before and after, and the sidebar with details, why-not list and search."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from PySide6.QtCore import QEvent, QPoint, Qt, QTimer, Signal
from PySide6.QtGui import QAction, QCloseEvent, QKeySequence
from PySide6.QtWidgets import QFrame, QHBoxLayout, QSlider, QSplitter, QVBoxLayout, QWidget

from icebreaker.graph.graph import Graph
from icebreaker.reports import Benchmark, Conversion
from icebreaker_gui.graph_view.canvas.pane import Pane
from icebreaker_gui.graph_view.controls.legend_row import LegendRow
from icebreaker_gui.graph_view.controls.menus import ItemMenu, ViewMenu
from icebreaker_gui.graph_view.controls.navigation import Navigation
from icebreaker_gui.graph_view.controls.toolbar import AFTER, BEFORE, BOTH, SLIDER, Toolbar
from icebreaker_gui.graph_view.export.dialogs import Exporter
from icebreaker_gui.graph_view.neighbours import step_from
from icebreaker_gui.graph_view.overlays import OVERLAYS
from icebreaker_gui.graph_view.painting.look import Marks
from icebreaker_gui.graph_view.painting.view import Camera
from icebreaker_gui.graph_view.sidebar.hover_words import hover_lines
from icebreaker_gui.graph_view.sidebar.panel import Sidebar
from icebreaker_gui.graph_view.state import GraphState
from icebreaker_gui.graph_view.table.panel import OpTable
from icebreaker_gui.style import formatting, theme
from icebreaker_gui.style.widgets import calm, label
from icebreaker_gui.style.wording import translate, worded


class GraphPanel(QWidget):
    """Everything that shows the graph, before and after conversion.

    Attributes:
        state: What is shown, open and chosen.
        mode: BEFORE, BOTH, SLIDER or AFTER.
        table: Its ops, layers and op types, to be shown beside it.
        before_pane: Shows the graph before; in SLIDER, both.
        after_pane: Shows the graph after.
    """

    nodeActivated = Signal(str)
    excludeRequested = Signal(list)  # names of nodes that are to stay in TensorFlow
    includeRequested = Signal(list)  # names of nodes that may go to engines again
    failed = Signal(str, str)  # what could not be done, and why

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("look", "panel")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.state = GraphState(self)
        self.mode = BEFORE
        self.before_pane, self.after_pane = Pane(), Pane()
        self.panes = (self.before_pane, self.after_pane)
        self.navigation = Navigation(self.state)
        self.view_menu = ViewMenu(self.state, self.navigation, self)
        self.toolbar = Toolbar(self.view_menu)
        self.search_field = self.toolbar.search_field
        self._exporter = Exporter(self)
        self.table = OpTable(self.state)  # it stands elsewhere in the window
        self._arrange()
        self._connect_controls()
        self._connect_panes()
        state = self.state
        state.graphChanged.connect(self._graph_changed)
        state.scenesChanged.connect(self._scenes_changed)
        state.lookChanged.connect(self._look_changed)
        state.selectionChanged.connect(self._selection_changed)
        state.hoverChanged.connect(self._marks_changed)
        state.foundChanged.connect(self._marks_changed)
        state.excludedChanged.connect(self._excluded_changed)
        state.busyChanged.connect(self._say_busy)
        state.tensorsChanged.connect(self._tensors_changed)
        state.factsChanged.connect(self._tensors_changed)
        self.setFocusProxy(self.before_pane)
        self.set_mode(BEFORE)
        self._graph_changed()

    # ---- what the window calls --------------------------------------------------------------------------------------

    def show_graph(self, before: Graph | None, outputs: Sequence[str] = (), file: Path | None = None) -> None:
        """Shows a graph that was opened; None: there is none. `file` has the weights that it was read without."""
        self.navigation.clear()
        for pane in self.panes:
            pane.show_picture(None)
        self.state.set_graph(before, outputs, file)
        self.set_mode(BEFORE)

    def show_conversion(self, conversion: Conversion | None, after: Graph | None) -> None:
        """Shows what a conversion made; None goes back to the graph before."""
        self.state.set_conversion(conversion, after)
        self.set_mode(BOTH if conversion else BEFORE)
        self.sidebar.refresh()

    def show_benchmark(self, benchmark: Benchmark | None) -> None:
        """Shows where the measured time goes; None: nothing was measured."""
        self.state.set_benchmark(benchmark)
        self._fill_overlays()
        self.details.refresh()

    def show_excluded(self, excluded: Iterable[str]) -> None:
        """Marks the nodes that stay in TensorFlow from the next conversion on, by the user's wish."""
        self.state.set_excluded(frozenset(excluded))

    def fit(self) -> None:
        """Shows the graph as large as it fits and can be read; asked for again, all of it."""
        pane = self._pane()
        pane.fit(whole=pane.lasting and not pane.shows_all)

    def go_to(self, key: str) -> None:
        """Chooses an item, opens the groups around it and brings it into sight."""
        state, side = self.state, self.state.side
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

    def save_picture(self, whole: bool, path: str = "") -> None:
        """Saves PNG, SVG or PDF of the view or of the whole graph; asks for a name where none is given."""
        pane = self._pane()
        if pane.picture is not None:
            legend = self.state.look(pane.picture.scene.outline, self._shows_after(pane))[1]
            self._exporter.save_picture(pane, legend, whole, path)

    def save_files(self, folder: str = "") -> None:
        """Saves before and after as files that TensorBoard and Netron open."""
        self._exporter.save_files(self.state.data, folder)

    def save_constant(self, name: str, path: str = "") -> None:
        """Saves what a constant holds as .npy; asks for a name where none is given."""
        data = self.state.data
        if data.graph is not None and name in data.graph:
            self._exporter.save_constant(data.graph[name], data.file, path)

    # ---- building ---------------------------------------------------------------------------------------------------

    def _arrange(self) -> None:
        self._split = QSplitter(Qt.Orientation.Horizontal)
        self._split.setHandleWidth(4)
        for pane in self.panes:
            self._split.addWidget(pane)
        self._split.setChildrenCollapsible(False)
        self.slider = calm(QSlider(Qt.Orientation.Horizontal))
        self.slider.setRange(0, 1000)
        self.slider.setPageStep(100)
        self.slider.setAccessibleName(self.tr("From before to after"))
        self._slider_row = QFrame()
        row = QHBoxLayout(self._slider_row)
        row.setContentsMargins(theme.LARGE, theme.SPACE, theme.LARGE, theme.SPACE)
        row.addWidget(label(self.tr("Before")))
        row.addWidget(self.slider, 1)
        row.addWidget(label(self.tr("After")))
        views = QWidget()
        column = QVBoxLayout(views)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self._split, 1)
        column.addWidget(self._slider_row)
        self.legend_row = LegendRow()
        column.addWidget(self.legend_row)
        self.sidebar = Sidebar(self.state, self.search_field)
        self.details, self.why_not = self.sidebar.details, self.sidebar.why_not
        self.search_panel = self.sidebar.search_panel
        self._outer = QSplitter(Qt.Orientation.Horizontal)
        self._outer.addWidget(views)
        self._outer.addWidget(self.sidebar)
        self._outer.setChildrenCollapsible(False)
        self._outer.setStretchFactor(0, 1)
        self._outer.setStretchFactor(1, 0)
        self._outer.setSizes([740, 290])
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self.toolbar)
        layout.addWidget(self.navigation)
        layout.addWidget(self._outer, 1)

    def _connect_controls(self) -> None:
        toolbar, menu = self.toolbar, self.view_menu
        toolbar.modeWanted.connect(self.set_mode)
        toolbar.overlayWanted.connect(self.state.set_overlay)
        toolbar.zoomWanted.connect(lambda factor: self._pane().zoom(factor))
        toolbar.fitWanted.connect(self.fit)
        self.navigation.jumpWanted.connect(self.go_to)
        menu.sideways.toggled.connect(self._turned)
        menu.sidebar.toggled.connect(self.sidebar.want)
        menu.pictureWanted.connect(self.save_picture)
        menu.filesWanted.connect(self.save_files)
        self._exporter.failed.connect(self.failed)
        self._exporter.busyChanged.connect(lambda busy: self._say_busy(self.tr("Saving") if busy else ""))
        self.slider.valueChanged.connect(self._slid)
        self.details.jumpWanted.connect(self.go_to)
        self.details.excludeWanted.connect(self._exclude)
        self.why_not.jumpWanted.connect(self.go_to)
        self.why_not.hoverWanted.connect(self.state.hover)
        self.why_not.reasonWanted.connect(self.state.set_found)
        self.search_panel.jumpWanted.connect(self.go_to)
        self.table.jumpWanted.connect(self.go_to)
        self.table.fileWanted.connect(self._exporter.save_table)
        for panel in (self.table, self.details):
            panel.constantWanted.connect(self.save_constant)
        find = QAction(self.tr("Find"), self)
        find.setShortcut(QKeySequence.StandardKey.Find)
        find.triggered.connect(self._find)
        self.addAction(find)
        for keys, by in ((QKeySequence.StandardKey.FindNext, 1), (QKeySequence.StandardKey.FindPrevious, -1)):
            action = QAction(self)
            action.setShortcut(keys)
            action.triggered.connect(lambda _checked=False, by=by: self.search_panel.step(by))
            self.addAction(action)

    def _connect_panes(self) -> None:
        for pane in self.panes:
            pane.cameraMoved.connect(self._camera_moved)
            pane.itemClicked.connect(self._clicked)
            pane.itemOpened.connect(self._opened)
            pane.itemHovered.connect(self._hovered)
            pane.menuWanted.connect(self._menu)
            pane.stepWanted.connect(self._step)

    # ---- modes ------------------------------------------------------------------------------------------------------

    def set_mode(self, mode: str) -> None:
        """Shows BEFORE, BOTH, SLIDER or AFTER; without a conversion, BEFORE whatever is asked for."""
        converted = self.state.data.conversion is not None
        if not converted:
            mode = BEFORE
        lasting = any(pane.lasting for pane in self.panes)
        self.mode = mode
        self.toolbar.show_mode(mode, converted)
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
        if lasting:
            QTimer.singleShot(0, self._fit_shown)  # when the panes have their new sizes

    def _turned(self) -> None:
        """The graph runs the other way now."""
        self.set_mode(self.mode)
        QTimer.singleShot(0, self._fit_shown)  # when the panes have their new sizes

    def _fit_shown(self) -> None:
        for pane in reversed(self._shown()):  # the first one leads
            pane.fit(animated=False)

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

    # ---- state changed ----------------------------------------------------------------------------------------------

    def _graph_changed(self) -> None:
        empty = self.state.data.graph is None
        self.before_pane.empty_text = self.tr("Open a frozen graph to see it here.") if empty else ""
        self.after_pane.empty_text = self.before_pane.empty_text
        self._fill_overlays()
        self._titles()
        self.navigation.refresh()

    def _tensors_changed(self) -> None:
        self._fill_overlays()
        self.details.refresh()
        for pane in self.panes:
            pane.update()

    def _fill_overlays(self) -> None:
        self.toolbar.fill_overlays(self.state.data, self.state.overlay_name)

    def _scenes_changed(self, anchor: str) -> None:
        state = self.state
        for pane in self._shown():
            scene = state.after_scene if self.mode == AFTER and state.alone else state.scene
            if scene is None:
                if self.mode != AFTER or state.scene is None:
                    pane.show_picture(None)
                continue
            look = state.look(scene.outline, self._shows_after(pane))[0]
            if pane.picture is None or pane.picture.scene is not scene or pane.picture.look is not look:
                picture = state.picture(scene, self._shows_after(pane))
                pane.show_picture(picture, state.item(scene.outline, anchor) if anchor else -1)
        self._show_legend()
        if self.mode == BOTH and self.before_pane.picture:
            self.after_pane.set_camera(self.before_pane.camera)
        self._titles()
        self._marks_changed()

    def _look_changed(self) -> None:
        for pane in self._shown():
            if pane.picture:
                pane.show_look(self.state.look(pane.picture.scene.outline, self._shows_after(pane))[0])
        self._show_legend()
        self.toolbar.show_overlay(self.state.overlay_name)

    def _show_legend(self) -> None:
        """Of the first pane: where there are two, their colours mean the same."""
        pane = self._shown()[0]
        legend = self.state.look(pane.picture.scene.outline, self._shows_after(pane))[1] if pane.picture else []
        self.legend_row.show_legend(translate("graph", OVERLAYS[self.state.overlay_name]), legend)

    def _titles(self) -> None:
        data = self.state.data
        if data.graph is None:
            return
        words = self.tr("{n} node"), self.tr("{n} nodes")
        before = formatting.count(len(data.graph), *words)
        after = formatting.count(len(data.after), *words) if data.after is not None else ""
        if data.conversion:
            after += (" · " if after else "") + self.tr("{share} in engines").format(
                share=formatting.percent(data.conversion.coverage)
            )
        self.after_pane.show_title(self.tr("After"), after, "optimized")
        if self.mode == SLIDER and self.slider.value() > 500:
            self.before_pane.show_title(self.tr("After"), after, "optimized")
        else:
            self.before_pane.show_title(self.tr("Before"), before, "original")

    def _selection_changed(self) -> None:
        key = self.state.selected
        self.navigation.follow()
        self._marks_changed()
        graph = self.state.data.graph
        if key and graph is not None:
            words = f"{graph[key].op} {key}" if key in graph else key.rstrip("/")
            left = self.state.data.left.get(key)
            self._pane().say(f"{words}. {worded(left.reason)}" if left else words)
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
                    lit.update(outline.members[home])
            found = frozenset(item for key in state.found if (item := state.item(outline, key)) >= 0)
            kept = frozenset(item for key in state.excluded if (item := state.item(outline, key)) >= 0)
            pane.set_marks(Marks(selected, state.item(outline, state.hovered), frozenset(lit), found, kept))

    def _excluded_changed(self) -> None:
        self.details.refresh()
        self._marks_changed()

    def _say_busy(self, words: str) -> None:
        self.toolbar.busy.setText(words, "muted")

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
        pane = self.sender()
        if not isinstance(pane, Pane):
            return
        scene, lines = (pane.picture.scene if pane.picture else None), []
        if scene is not None and item > 0:
            engine = pane.morph > 0.5 and item in scene.outline.segments.values()
            if engine or not scene.is_open[scene.row(item)]:  # else the pointer is between things
                lines = hover_lines(self.state.data, scene.outline, item)
        pane.card.tell(lines, pane.pointer)

    def _step(self, way: str) -> None:
        pane = self.sender()
        if isinstance(pane, Pane) and pane.picture:
            outline = pane.picture.scene.outline
            here = self.state.item(outline, self.state.selected)
            item = step_from(pane.picture.scene, here, way, pane.camera, after=pane.morph > 0.5)
            if item >= 0:
                self.state.select(outline.keys[item])
                pane.reveal(item)

    def _menu(self, item: int, at: QPoint) -> None:
        pane = self.sender()
        if not isinstance(pane, Pane):
            return
        menu = ItemMenu(self.state, self.navigation, self)
        menu.fitWanted.connect(lambda item: self._pane().fit(item=item))
        menu.excludeWanted.connect(self._exclude)
        if pane.picture and item >= 0:
            self.state.select(self._key(item))
            menu.fill(pane.picture.scene.outline, item)
        else:
            menu.fill_whole()
        menu.exec(at)

    def _exclude(self, key: str) -> None:
        """Leaves a node, or all in a group, in TensorFlow; what is left there by the user is given back."""
        names = self.state.ops_of(key)
        if names and self.state.excluded.issuperset(names):
            self.includeRequested.emit(names)
        elif names:
            self.excludeRequested.emit(names)

    def _find(self) -> None:
        self.sidebar.search()
        self.search_field.setFocus(Qt.FocusReason.ShortcutFocusReason)
        self.search_field.selectAll()

    # ---- events -----------------------------------------------------------------------------------------------------

    def changeEvent(self, event: QEvent) -> None:
        """Follows light and dark."""
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "sidebar"):
            self.state.restyle()
            self.navigation.refresh()
        super().changeEvent(event)

    def closeEvent(self, event: QCloseEvent) -> None:
        """Stops work in the background; what is being saved is saved."""
        self.state.close()
        self._exporter.close()
        super().closeEvent(event)
