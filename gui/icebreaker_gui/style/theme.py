"""The app's one visual language: colours, spacing, fonts, in light and dark.

Painters ask `current()` whenever they paint, so they are always right; a widget that keeps pens or plot items
makes them anew in `changeEvent` on `QEvent.Type.PaletteChange`, which every widget gets when the system's colour
scheme changes. No colour is written anywhere else.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from PySide6.QtCore import Qt
from PySide6.QtGui import QColor, QFont, QFontDatabase, QGuiApplication, QPalette
from PySide6.QtWidgets import QApplication

from icebreaker.engine import registry

# Distances in device-independent pixels: everything keeps to this scale.
TINY, SMALL, SPACE, LARGE, HUGE = 2, 4, 8, 16, 24
RADIUS = 6
CONTROL_HEIGHT, LARGE_HEIGHT = 28, 40

ICONS = Path(str(files("icebreaker_gui.resources"))) / "icons"
APP_ICON = ICONS / "icebreaker.svg"

_PROPERTY, _FORCED = "icebreakerTheme", "icebreakerForcedTheme"


@dataclass(frozen=True)
class Theme:
    """Named colours, as `#rrggbb`; `color` makes a `QColor` of one.

    Attributes:
        window: Behind everything.
        panel: Background of docks and of the graph and latency drawings.
        raised: Cards, headers, buttons, ordinary graph nodes.
        field: Inputs, lists, tables.
        border: Thin lines between areas and around controls.
        text: Words to read.
        muted: Words of second rank; still readable on all backgrounds.
        faint: Disabled words, grid lines' labels, graph edges.
        accent: The one colour for what can be pressed or is chosen.
        on_accent: Words on `accent`.
        accent_soft: Background of what is selected.
        original: The graph as it came, in every chart and title.
        optimized: The converted graph, in every chart and title.
        success: Good results.
        warning: What deserves a look.
        error: What went wrong.
        success_soft: Background for `success`.
        warning_soft: Background for `warning`.
        error_soft: Background for `error`.
        grid: Lines of charts.
        node: Fill of a node that TensorFlow runs.
        node_border: Its outline.
        constant: Fill of constants and other nodes that compute nothing.
        group: Fill of an open scope.
        edge: Data edges.
        control_edge: Control edges.
    """

    name: str
    dark: bool
    window: str
    panel: str
    raised: str
    field: str
    border: str
    text: str
    muted: str
    faint: str
    accent: str
    accent_hover: str
    on_accent: str
    accent_soft: str
    original: str
    optimized: str
    success: str
    warning: str
    error: str
    success_soft: str
    warning_soft: str
    error_soft: str
    grid: str
    node: str
    node_border: str
    constant: str
    group: str
    edge: str
    control_edge: str

    def color(self, name: str, alpha: float = 1.0) -> QColor:
        """The colour of that name, `alpha` from 0 (clear) to 1."""
        color = QColor(getattr(self, name))
        color.setAlphaF(alpha)
        return color

    def engine(self, name: str) -> QColor:
        """The colour of an engine's outlines and legends; one that says none, or is unknown, gets the accent."""
        return self.engine_or_none(name) or QColor(self.accent)

    def engine_or_none(self, name: str) -> QColor | None:
        """The colour that an engine says it has; None if it says none, or is unknown."""
        engine = registry.find(name)
        if engine is None or engine.colour is None:
            return None
        return QColor(engine.colour.dark if self.dark else engine.colour.light)

    def reason(self, code: str) -> QColor:
        """The colour of a node left in TensorFlow for the reason `code`, a key of `reports.REASONS`."""
        return QColor(getattr(self, _REASON_COLORS.get(code, "muted")))


# What could be mended is warm, what is a decision is the accent's, what is just so is quiet.
_REASON_COLORS: Mapping[str, str] = {
    "unsupported_op": "warning",
    "unsupported_attribute": "warning",
    "unknown_shape": "warning",
    "engine_refused": "error",
    "deviates": "error",
    "no_data": "warning",
    "excluded": "accent",
    "not_faster": "muted",
    "too_small": "muted",
    "control_flow": "muted",
    "side_effect": "muted",
    "passive": "faint",
}

DARK = Theme(
    name="dark", dark=True,
    window="#0b1422", panel="#111d30", raised="#1a2940", field="#0d1828", border="#2a3c58",
    text="#e8f0fa", muted="#a3b5cd", faint="#6f86a4",
    accent="#6accf5", accent_hover="#93dbf8", on_accent="#06182a", accent_soft="#1b3d5c",
    original="#f0a860", optimized="#6accf5",
    success="#66d3a6", warning="#f0c465", error="#ff8f8a",
    success_soft="#12342f", warning_soft="#372f1c", error_soft="#3d2029",
    grid="#22344f", node="#243650", node_border="#3f5778", constant="#17253a", group="#142238",
    edge="#56708f", control_edge="#8a6f4d",
)  # fmt: skip

LIGHT = Theme(
    name="light", dark=False,
    window="#e9f0f7", panel="#fbfdff", raised="#f0f5fa", field="#ffffff", border="#c9d7e6",
    text="#10223a", muted="#4a5f7a", faint="#71859d",
    accent="#0a68a8", accent_hover="#085487", on_accent="#ffffff", accent_soft="#d3e8f8",
    original="#b8590a", optimized="#0a68a8",
    success="#177049", warning="#835a00", error="#b02a2a",
    success_soft="#dff3e9", warning_soft="#fbf0d6", error_soft="#fbe4e3",
    grid="#dde7f1", node="#ffffff", node_border="#9db1c7", constant="#eef3f8", group="#f3f8fc",
    edge="#8ba1ba", control_edge="#c08a4a",
)  # fmt: skip

THEMES: Mapping[str, Theme] = {theme.name: theme for theme in (LIGHT, DARK)}


def system() -> Theme:
    """The theme of the system's colour scheme; light where the system does not tell."""
    return DARK if QGuiApplication.styleHints().colorScheme() == Qt.ColorScheme.Dark else LIGHT


def current() -> Theme:
    """The theme that the app shows now."""
    app = QGuiApplication.instance()
    return THEMES.get(str(app.property(_PROPERTY)) if app else "", LIGHT)


def install(app: QApplication, forced: str | None = None) -> None:
    """Dresses the app and follows the system's colour scheme from now on.

    Args:
        app: The application.
        forced: `light` or `dark`: keep to it whatever the system says.
    """
    app.setStyle("Fusion")
    choose(app, forced)
    app.styleHints().colorSchemeChanged.connect(lambda _scheme: choose(app, app.property(_FORCED) or None))


def choose(app: QApplication, forced: str | None) -> None:
    """Shows `light` or `dark`, or, with None, what the system says now and later."""
    app.setProperty(_FORCED, forced or "")
    wanted = THEMES[forced] if forced else system()
    if current() is not wanted or not app.styleSheet():
        show(app, wanted)


def show(app: QApplication, theme: Theme) -> None:
    """Makes `theme` the current one; every widget gets a palette change."""
    app.setProperty(_PROPERTY, theme.name)
    app.setPalette(palette(theme))
    app.setStyleSheet(stylesheet(theme))


# --- Graph view -----------------------------------------------------------------------------------------------------
# Hues of Okabe and Ito (2008), which people tell apart whatever their colour vision, shifted in lightness for each
# background. What a colour means is always told by a pattern, a shape or a word as well.
_HUES: Mapping[str, tuple[str, str]] = {  # hue → light, dark
    "blue": ("#0072b2", "#4ba3e3"),
    "orange": ("#d98e00", "#e9a932"),
    "purple": ("#b8629a", "#d592bd"),
    "green": ("#00875f", "#2fbf93"),
    "sky": ("#3a9bd6", "#7cc8f2"),
    "yellow": ("#a89b00", "#e6d94f"),
    "vermilion": ("#cc5500", "#f08048"),
    "gray": ("#7b8794", "#8796ab"),
    "ink": ("#3a4654", "#c6d0dd"),
}


def hue(name: str) -> QColor:
    """A colour for telling kinds apart, fit for the current theme."""
    return QColor(_HUES[name][current().dark])


# ------------------------------------------------------------------------------------------------- end of graph view


def font(scale: float = 1.0, bold: bool = False) -> QFont:
    """The app's font, `scale` times its usual size."""
    result = QFont(QGuiApplication.font())
    result.setPointSizeF(result.pointSizeF() * scale)
    if bold:
        result.setWeight(QFont.Weight.DemiBold)
    return result


def mono(scale: float = 1.0) -> QFont:
    """The system's font of fixed width, for names, numbers in columns and the log."""
    result = QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont)
    result.setPointSizeF(QGuiApplication.font().pointSizeF() * scale)
    return result


def palette(theme: Theme) -> QPalette:
    """The Qt palette of a theme, for all that the style sheet does not name."""
    result = QPalette()
    role = QPalette.ColorRole
    for key, name in {
        role.Window: "window", role.WindowText: "text", role.Base: "field", role.AlternateBase: "raised",
        role.Text: "text", role.Button: "raised", role.ButtonText: "text", role.BrightText: "error",
        role.Highlight: "accent", role.HighlightedText: "on_accent", role.Accent: "accent",
        role.Link: "accent", role.LinkVisited: "accent", role.PlaceholderText: "faint",
        role.ToolTipBase: "raised", role.ToolTipText: "text", role.Light: "raised", role.Midlight: "raised",
        role.Mid: "border", role.Dark: "border", role.Shadow: "window",
    }.items():  # fmt: skip
        result.setColor(key, theme.color(name))
    for key in (role.WindowText, role.Text, role.ButtonText):
        result.setColor(QPalette.ColorGroup.Disabled, key, theme.color("faint"))
    return result


def stylesheet(theme: Theme) -> str:
    """The Qt style sheet of a theme."""
    values = {field.name: getattr(theme, field.name) for field in dataclasses.fields(theme) if field.type == "str"} | {
        "icons": ICONS.as_posix(),
        "radius": RADIUS,
        "small": SMALL,
        "space": SPACE,
        "control": CONTROL_HEIGHT - 2 * SMALL - 2,
        "large": LARGE_HEIGHT - 2 * SMALL - 2,
    }
    return _SHEET % values


# %-formatting, because style sheets are full of braces. Widgets choose a look by the dynamic property `look`.
_SHEET = """
QToolTip {
    background: %(raised)s; color: %(text)s; border: 1px solid %(border)s; padding: %(small)dpx %(space)dpx; }
QMainWindow::separator { background: %(window)s; width: 6px; height: 6px; }
QMainWindow::separator:hover { background: %(accent_soft)s; }
QDockWidget {
    color: %(muted)s; font-weight: 600;
    titlebar-close-icon: url("%(icons)s/close-%(name)s.svg");
    titlebar-normal-icon: url("%(icons)s/float-%(name)s.svg"); }
QDockWidget::close-button, QDockWidget::float-button { border: none; border-radius: %(small)dpx; padding: 2px; }
QDockWidget::close-button:hover, QDockWidget::float-button:hover { background: %(accent_soft)s; }
QDockWidget::title { background: %(window)s; padding: 6px %(space)dpx; }
QWidget[look="panel"] { background: %(panel)s; }
QFrame[look="line"] { background: %(border)s; border: none; }
QScrollArea { border: none; background: transparent; }
QLabel[look="title"] { color: %(text)s; font-weight: 600; }
QLabel[look="finding"] { color: %(optimized)s; }
QLabel[look="muted"] { color: %(muted)s; }
QLabel[look="warning"] { color: %(warning)s; }
QLabel[look="error"] { color: %(error)s; }
QFrame[look="card"] { background: %(raised)s; border: 1px solid %(border)s; border-radius: %(radius)dpx; }
QFrame[look="strip"] { background: %(panel)s; border: none; border-bottom: 1px solid %(border)s; }
QFrame[look="hover"] { background: %(raised)s; border: 1px solid %(faint)s; border-radius: %(radius)dpx; }
QFrame[look="banner-error"], QFrame[look="banner-warning"] {
    margin: %(small)dpx 6px %(space)dpx 2px; border-radius: %(radius)dpx; }
QFrame[look="banner-error"] { background: %(error_soft)s; border: 1px solid %(error)s; }
QFrame[look="banner-warning"] { background: %(warning_soft)s; border: 1px solid %(warning)s; }
QMenuBar { background: %(window)s; color: %(text)s; }
QMenuBar::item { padding: %(small)dpx %(space)dpx; background: transparent; border-radius: %(small)dpx; }
QMenuBar::item:selected { background: %(accent_soft)s; }
QMenu { background: %(panel)s; color: %(text)s; border: 1px solid %(border)s; padding: %(small)dpx; }
QMenu::item { padding: 5px 24px 5px %(space)dpx; border-radius: %(small)dpx; }
QMenu::item:selected { background: %(accent_soft)s; }
QMenu::item:disabled { color: %(faint)s; }
QMenu::separator { height: 1px; background: %(border)s; margin: %(small)dpx; }
QStatusBar { background: %(window)s; color: %(muted)s; }
QStatusBar::item { border: none; }
QPushButton {
    background: %(raised)s; color: %(text)s; border: 1px solid %(border)s; border-radius: %(radius)dpx;
    padding: %(small)dpx 12px; min-height: %(control)dpx; }
QPushButton[large="true"] { min-height: %(large)dpx; }
QPushButton:hover, QToolButton:hover { border-color: %(accent)s; background: %(accent_soft)s; }
QPushButton:pressed, QPushButton:checked, QToolButton:checked {
    background: %(accent_soft)s; border-color: %(accent)s; }
QPushButton:focus, QToolButton:focus { border-color: %(accent)s; }
QPushButton:checked:focus, QToolButton:checked:focus { border: 2px solid %(accent)s; }
QPushButton:disabled, QToolButton:disabled {
    color: %(faint)s; background: transparent; border-color: %(border)s; }
QPushButton:checked:disabled { color: %(muted)s; background: %(accent_soft)s; }
QPushButton[look="primary"] {
    background: %(accent)s; color: %(on_accent)s; border: 1px solid %(accent)s; font-weight: 600; }
QPushButton[look="primary"]:hover { background: %(accent_hover)s; border-color: %(accent_hover)s; }
QPushButton[look="primary"]:focus { border: 2px solid %(text)s; }
QPushButton[look="primary"]:disabled { background: %(raised)s; color: %(faint)s; border-color: %(border)s; }
QPushButton[look="link"], QPushButton[look="link"]:checked {
    background: transparent; border: none; color: %(accent)s; padding: %(small)dpx; text-align: left; }
QPushButton[look="link"]:hover, QPushButton[look="link"]:focus { text-decoration: underline; }
QPushButton[look="link"]:disabled { color: %(faint)s; }
QToolButton {
    background: transparent; color: %(text)s; border: 1px solid transparent; border-radius: %(radius)dpx;
    padding: %(small)dpx %(space)dpx; min-height: %(control)dpx; }
QToolButton[popupMode="2"] { padding-right: 22px; }
QToolButton::menu-indicator {
    image: url("%(icons)s/down-%(name)s.svg"); subcontrol-position: center right; right: 6px;
    width: 10px; height: 10px; }
QLineEdit QToolButton { background: transparent; border: none; padding: 0; min-height: 0; }
QLineEdit, QSpinBox, QComboBox {
    background: %(field)s; color: %(text)s; border: 1px solid %(border)s; border-radius: %(radius)dpx;
    padding: %(small)dpx %(space)dpx; min-height: %(control)dpx;
    selection-background-color: %(accent)s; selection-color: %(on_accent)s; }
QSpinBox { padding: 2px; }
QListView::item { padding: 2px %(small)dpx; }
QTreeView::item { padding: 2px 5px; }
QTableView::item { padding: 0 5px; }
QSpinBox::up-button {
    subcontrol-origin: border; subcontrol-position: top right; width: 20px; border: none; margin: 2px 2px 0 0; }
QSpinBox::down-button {
    subcontrol-origin: border; subcontrol-position: bottom right; width: 20px; border: none; margin: 0 2px 2px 0; }
QSpinBox::up-button:hover, QSpinBox::down-button:hover { background: %(accent_soft)s; border-radius: 3px; }
QSpinBox::up-arrow { image: url("%(icons)s/up-%(name)s.svg"); width: 10px; height: 10px; }
QSpinBox::down-arrow, QComboBox::down-arrow {
    image: url("%(icons)s/down-%(name)s.svg"); width: 10px; height: 10px; }
QComboBox::drop-down { border: none; width: 22px; }
QRadioButton, QCheckBox { spacing: %(space)dpx; }
QRadioButton:disabled, QCheckBox:disabled { color: %(faint)s; }
QRadioButton::indicator, QCheckBox::indicator, QListView::indicator, QTableView::indicator {
    width: 12px; height: 12px; border: 1px solid %(faint)s; background: %(field)s; border-radius: 3px; }
QRadioButton::indicator { border-radius: 7px; }
QRadioButton::indicator:hover, QCheckBox::indicator:hover, QListView::indicator:hover, QTableView::indicator:hover,
QRadioButton::indicator:focus, QCheckBox::indicator:focus { border-color: %(accent)s; }
QRadioButton::indicator:checked { border: 4px solid %(accent)s; width: 6px; height: 6px; background: %(on_accent)s; }
QCheckBox::indicator:checked, QListView::indicator:checked, QTableView::indicator:checked {
    border-color: %(accent)s; background: %(accent)s; image: url("%(icons)s/check-%(name)s.svg"); }
QRadioButton::indicator:disabled, QCheckBox::indicator:disabled { border-color: %(border)s; background: transparent; }
QRadioButton::indicator:checked:disabled { border: 4px solid %(border)s; }
QLineEdit:hover, QSpinBox:hover, QComboBox:hover { border-color: %(faint)s; }
QLineEdit:focus, QSpinBox:focus, QComboBox:focus { border-color: %(accent)s; }
QLineEdit:disabled, QSpinBox:disabled, QComboBox:disabled {
    color: %(faint)s; background: %(raised)s; }
QLineEdit[invalid="true"] { border-color: %(error)s; }
QComboBox QAbstractItemView {
    background: %(panel)s; color: %(text)s; border: 1px solid %(border)s; outline: none;
    selection-background-color: %(accent_soft)s; selection-color: %(text)s; }
QPlainTextEdit, QListView, QTreeView, QTableView {
    background: %(field)s; color: %(text)s; border: 1px solid %(border)s; border-radius: %(radius)dpx;
    outline: none;
    alternate-background-color: %(raised)s; selection-background-color: %(accent_soft)s;
    selection-color: %(text)s;
    gridline-color: %(border)s; }
QListView:focus, QTreeView:focus, QTableView:focus, QPlainTextEdit:focus { border-color: %(accent)s; }
QHeaderView { background: transparent; }
QHeaderView::section {
    background: %(raised)s; color: %(muted)s; border: none; border-bottom: 1px solid %(border)s;
    padding: %(small)dpx %(space)dpx; font-weight: 600; }
QHeaderView::up-arrow, QHeaderView::down-arrow {
    image: url("%(icons)s/up-%(name)s.svg"); subcontrol-origin: border; subcontrol-position: top center;
    width: 8px; height: 8px; }
QHeaderView::down-arrow { image: url("%(icons)s/down-%(name)s.svg"); }
QTableCornerButton::section { background: %(raised)s; border: none; }
QSlider::groove:horizontal { background: %(border)s; height: 4px; border-radius: 2px; }
QSlider::sub-page:horizontal { background: %(accent)s; height: 4px; border-radius: 2px; }
QSlider::sub-page:horizontal:disabled { background: %(border)s; }
QSlider::handle:horizontal {
    background: %(accent)s; width: 14px; height: 14px; margin: -5px 0; border-radius: 7px; border: none; }
QSlider::handle:horizontal:disabled { background: %(faint)s; }
QTabWidget::pane { border: none; }
QTabBar { background: transparent; qproperty-drawBase: 0; }
QTabBar::tab {
    background: transparent; color: %(muted)s; padding: 6px 12px; border: none;
    border-bottom: 2px solid transparent; }
QTabBar::tab:hover { color: %(text)s; }
QTabBar::tab:selected { color: %(text)s; border-bottom: 2px solid %(accent)s; }
QScrollBar:vertical { background: transparent; width: 10px; margin: 0; }
QScrollBar:horizontal { background: transparent; height: 10px; margin: 0; }
QScrollBar::handle { background: %(border)s; border-radius: 4px; margin: 1px; }
QScrollBar::handle:vertical { min-height: 24px; }
QScrollBar::handle:horizontal { min-width: 24px; }
QScrollBar::handle:hover { background: %(faint)s; }
QScrollBar::add-line, QScrollBar::sub-line { width: 0; height: 0; }
QScrollBar::add-page, QScrollBar::sub-page { background: transparent; }
QSplitter::handle { background: %(window)s; }
QSplitter::handle:hover { background: %(accent_soft)s; }
"""
