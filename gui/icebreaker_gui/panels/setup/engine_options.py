"""The part of Setup for what only some engines have, and for shapes to tune for; folded away until it is asked for."""

from __future__ import annotations

from PySide6.QtCore import QSignalBlocker, Qt
from PySide6.QtWidgets import QCheckBox, QComboBox, QGridLayout, QLineEdit, QVBoxLayout, QWidget

from icebreaker.errors import IcebreakerError
from icebreaker.graph.graph import Placeholder
from icebreaker.reports.reports import EngineStatus
from icebreaker.settings import (
    ENGINE_OPTIONS,
    HARDWARE_COMPATIBILITY,
    MOST_OPTIMIZATION,
    WEIGHTS,
    BuilderSettings,
    ConvertSettings,
    parse_profile,
    profile_text,
)
from icebreaker_gui.session.session import Session
from icebreaker_gui.style import formatting, theme
from icebreaker_gui.style.widgets import Elided, Section, button, label, number
from icebreaker_gui.style.wording import worded

_FIELD_WIDTH = 148
_MOST_PROFILES = 6
_COLUMNS = 3
# What a compute capability is called in shops.
_FAMILIES = {
    "7.5": "Turing: RTX 20, T4", "8.0": "Ampere: A100, A30", "8.6": "Ampere: RTX 30, A10", "8.9": "Ada: RTX 40, L4",
    "12.0": "Blackwell: RTX 50", "12.1": "Blackwell: DGX Spark",
}  # fmt: skip


def usable(session: Session) -> tuple[EngineStatus, ...]:
    """The engines that the next conversion may use, as far as the machine is known."""
    engines, wanted = session.machine.engines if session.machine else (), session.settings.engine
    return tuple(item for item in engines if item.name == wanted or (wanted == "auto" and item.runs))


def unmet(session: Session) -> str:
    """Why the engines that may be used cannot do what was chosen; nothing if they can, or are not known yet."""
    engines = usable(session)
    why = session.settings.unmet(engines) if engines else None
    return worded(why) if why else ""


class Options(Section):
    """Shapes for inputs that are open, and the options that the chosen engine has; what it lacks is not shown."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._fold = button("", self.tr("Shapes that engines are tuned for, and what only TensorRT can do"), "link")
        self._fold.setCheckable(True)
        self._fold.toggled.connect(self._update)
        self._problem = label(look="error", wrap=True)
        self._reset = button(
            self.tr("Reset these options"), self.tr("Choose what the engine does by itself again"), "link"
        )
        self._reset.clicked.connect(self._on_reset)
        self._fields = QWidget()
        column = QVBoxLayout(self._fields)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(theme.SMALL)
        self._profiles = _Profiles(session)
        column.addWidget(self._profiles)
        column.addLayout(self._make_grid())
        for widget in (self._fold, self._fields, self._problem, self._reset):
            self.body.addWidget(widget)
        for signal in (session.machineChanged, session.settingsChanged, session.graphChanged):
            signal.connect(self._update)
        self._update()

    def _make_grid(self) -> QGridLayout:
        change = self._session.change
        tip = self.tr("How long TensorRT's builder searches for fast kernels, 0 to 5; automatic is 3")
        self._level = number(-1, MOST_OPTIMIZATION, -1, tip)
        self._level.setSpecialValueText(self.tr("automatic"))
        self._level.valueChanged.connect(lambda value: change(optimization_level=None if value < 0 else value))
        self._hardware = QComboBox()
        for name, text in zip(
            HARDWARE_COMPATIBILITY,
            (self.tr("this GPU model"), self.tr("same capability"), self.tr("Ampere and later")),
            strict=True,
        ):
            self._hardware.addItem(text, name)
        self._hardware.setToolTip(
            self.tr(
                "Which GPUs the engine runs on: this model only, all of its compute capability, or all from 8.0 on. "
                "More of them may cost speed."
            )
        )
        self._hardware.activated.connect(lambda: change(hardware_compatibility=self._hardware.currentData()))
        self._weights = QComboBox()
        for name, text in zip(WEIGHTS, (self.tr("fixed"), self.tr("refittable"), self.tr("weightless")), strict=True):
            self._weights.addItem(text, name)
        self._weights.setToolTip(
            self.tr(
                "Fixed: nothing has to be done at loading. Refittable: TensorRT's Refitter can replace them later. "
                "Weightless: the engine gets them when it is loaded, from the ONNX model kept with it; the file "
                "gets no smaller."
            )
        )
        self._weights.activated.connect(lambda: change(weights=self._weights.currentData()))
        self._versions = QCheckBox(self.tr("Later versions of TensorRT load it"))
        self._versions.setToolTip(
            self.tr("The engine carries a runtime of its own along, which is native code, and so it is larger")
        )
        self._versions.toggled.connect(lambda on: change(version_compatible=on))
        self._targets = _Targets(self._session)
        grid = QGridLayout()
        grid.setHorizontalSpacing(theme.SPACE)
        grid.setVerticalSpacing(theme.SMALL)
        grid.setColumnStretch(0, 1)
        self._rows: dict[str, tuple[QWidget, ...]] = {}
        for row, (option, text, field) in enumerate(
            (
                ("optimization_level", self.tr("Optimization level"), self._level),
                ("hardware_compatibility", self.tr("Runs on"), self._hardware),
                ("weights", self.tr("Weights"), self._weights),
            )
        ):
            name = label(text)
            name.setBuddy(field)
            name.setToolTip(field.toolTip())
            field.setFixedWidth(_FIELD_WIDTH)
            grid.addWidget(name, row, 0)
            grid.addWidget(field, row, 1)
            self._rows[option] = (name, field)
        for row, (option, field) in enumerate(
            (("version_compatible", self._versions), ("compute_capabilities", self._targets)), len(self._rows)
        ):
            grid.addWidget(field, row, 0, 1, 2)
            self._rows[option] = (field,)
        return grid

    def _update(self) -> None:
        settings, engines = self._session.settings, usable(self._session)
        offered = {name for name in ENGINE_OPTIONS if any(item.options.get(name) == "" for item in engines)}
        for name, widgets in self._rows.items():
            for widget in widgets:
                widget.setVisible(name in offered)
        self._profiles.show_inputs()
        self._targets.show_targets(next((item.targets for item in engines if item.targets), ()))
        with QSignalBlocker(self._level), QSignalBlocker(self._versions):
            level = settings.builder.optimization_level
            self._level.setValue(-1 if level is None else level)
            self._versions.setChecked(settings.builder.version_compatible)
        self._hardware.setCurrentIndex(self._hardware.findData(settings.builder.hardware_compatibility))
        self._weights.setCurrentIndex(self._weights.findData(settings.builder.weights))
        problem = unmet(self._session)
        self._problem.setText(problem)
        self._problem.setVisible(bool(problem))
        chosen = len(settings.profiles) + len(_differing(settings))
        self._reset.setVisible(bool(problem))
        unfolded = self._fold.isChecked()
        text = ("▾ " if unfolded else "▸ ") + self.tr("Engine options")
        self._fold.setText(text + (self.tr(" · {n} set").format(n=chosen) if chosen else ""))
        something = bool(offered) or self._profiles.has_inputs
        self._fold.setVisible(something)
        self._fields.setVisible(something and unfolded)
        self.setVisible(something or bool(problem))

    def _on_reset(self) -> None:
        defaults = BuilderSettings()
        self._session.change(**{name: getattr(defaults, name) for name in ENGINE_OPTIONS})


def _differing(settings: ConvertSettings) -> list[str]:
    defaults = BuilderSettings()
    return [name for name in ENGINE_OPTIONS if getattr(settings.builder, name) != getattr(defaults, name)]


class _Profiles(QWidget):
    """For each input with open dimensions behind the batch: its smallest, usual and largest shape."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setSpacing(theme.SMALL)
        self._shown: tuple[Placeholder, ...] = ()
        self._fields: dict[str, QLineEdit] = {}
        self._problem = label(look="error", wrap=True)

    @property
    def has_inputs(self) -> bool:
        """True if there is an input to give shapes for."""
        return bool(self._shown)

    def show_inputs(self) -> None:
        """Follows the graph and the settings."""
        graph = self._session.graph
        found = tuple(item for item in graph.placeholders if _is_open(item)) if graph else ()
        if found[:_MOST_PROFILES] != self._shown:
            self._shown = found[:_MOST_PROFILES]
            self._make()
        for name, field in self._fields.items():
            profile = self._session.settings.profiles.get(name)
            if field.property("invalid") != "true":
                field.setText(profile_text(profile) if profile else "")
        self.setVisible(self.has_inputs)

    def _make(self) -> None:
        while (item := self._column.takeAt(0)) is not None:
            if widget := item.widget():
                widget.setParent(None)
        self._fields = {}
        self._problem = label(look="error", wrap=True)
        self._problem.hide()
        for item in self._shown:
            name = Elided(self.tr("{name}: smallest, usual, largest shape").format(name=item.name))
            field = QLineEdit(placeholderText=_example(item))
            field.setToolTip(
                self.tr(
                    "The smallest, the usual and the largest shape of {name}, in elements. Engines are tuned for the "
                    "usual one and checked at all three; TensorRT takes nothing outside of them. Empty: sizes are "
                    "guessed."
                ).format(name=item.name)
            )
            field.setAccessibleName(name.text())
            field.editingFinished.connect(lambda name=item.name: self._on_edited(name))
            self._fields[item.name] = field
            self._column.addWidget(name)
            self._column.addWidget(field)
        self._column.addWidget(self._problem)

    def _on_edited(self, name: str) -> None:
        field, settings = self._fields[name], self._session.settings
        profiles = {key: item for key, item in settings.profiles.items() if key != name}
        shapes = {key: item for key, item in settings.input_shapes.items() if key != name}
        text = field.text().strip()
        try:
            if text:
                profiles[name] = parse_profile(f"{name}={text}")[1]
                item = next(item for item in self._shown if item.name == name)
                for shape in profiles[name]:
                    check_shape(item, shape)
        except IcebreakerError as error:
            _mark(field, True)
            self._problem.setText(str(error))
            self._problem.show()
            return
        _mark(field, False)
        self._problem.hide()
        self._session.change(profiles=profiles, input_shapes=shapes if text else settings.input_shapes)
        self.show_inputs()


def _mark(field: QLineEdit, invalid: bool) -> None:
    field.setProperty("invalid", "true" if invalid else "false")
    field.style().unpolish(field)
    field.style().polish(field)


def _is_open(item: Placeholder) -> bool:
    return item.shape is None or None in item.shape[1:]


def check_shape(item: Placeholder, shape: tuple[int, ...]) -> None:
    """Raises IcebreakerError if an input cannot have this shape."""
    fits = item.shape is None or (
        len(shape) == len(item.shape)
        and all(want in (None, size) for want, size in zip(item.shape, shape, strict=True))
    )
    if not fits:
        raise IcebreakerError(
            f"{formatting.shape(shape)} does not fit {item.name}: it takes {formatting.shape(item.shape)}"
        )


def _example(item: Placeholder) -> str:
    """Shapes that would fit, to show how they are written."""
    if item.shape is None:
        return "1x8, 4x32, 8x128"
    lengths = (64, 224, 512) if len(item.shape) == 4 else (8, 32, 128)
    shapes = []
    for batch, length in zip((1, 4, 8), lengths, strict=True):
        sizes = [length if size is None else size for size in item.shape]
        if item.shape and item.shape[0] is None:
            sizes[0] = batch
        shapes.append(tuple(sizes))
    return profile_text(tuple(shapes))


class _Targets(QWidget):
    """The compute capabilities that a plan is built for, as check boxes; none: all from 8.0 on."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setVerticalSpacing(theme.SMALL)
        title = label(self.tr("Built for compute capability"))
        title.setToolTip(self.tr("GPUs that the engine shall run on; they need not be in this machine"))
        self._all = label(self.tr("all from 8.0 on"), "muted")
        self._grid.addWidget(title, 0, 0, 1, _COLUMNS - 1)
        self._grid.addWidget(self._all, 0, _COLUMNS - 1, Qt.AlignmentFlag.AlignRight)
        self._boxes: dict[str, QCheckBox] = {}

    def show_targets(self, targets: tuple[str, ...]) -> None:
        """Offers what the engine can build for."""
        if targets and tuple(self._boxes) != targets:
            for box in self._boxes.values():
                self._grid.removeWidget(box)
                box.deleteLater()
            self._boxes = {}
            for index, name in enumerate(targets):
                box = QCheckBox(name)
                box.setToolTip(_FAMILIES.get(name, self.tr("NVIDIA GPUs of compute capability {n}").format(n=name)))
                box.toggled.connect(self._on_toggled)
                self._boxes[name] = box
                self._grid.addWidget(box, 1 + index // _COLUMNS, index % _COLUMNS)
        chosen = self._session.settings.builder.compute_capabilities
        for name, box in self._boxes.items():
            with QSignalBlocker(box):
                box.setChecked(name in chosen)
        self._all.setVisible(not chosen)

    def _on_toggled(self) -> None:
        self._session.change(compute_capabilities=tuple(name for name, box in self._boxes.items() if box.isChecked()))
