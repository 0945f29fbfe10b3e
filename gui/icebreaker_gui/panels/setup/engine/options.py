"""What only some engines have, and shapes to tune for; folded away until it is asked for."""

from __future__ import annotations

from PySide6.QtCore import QSignalBlocker
from PySide6.QtWidgets import QCheckBox, QComboBox, QGridLayout, QSpinBox, QVBoxLayout, QWidget

from icebreaker.settings import (
    ENGINE_OPTIONS,
    HARDWARE_COMPATIBILITY,
    MOST_OPTIMIZATION,
    WEIGHTS,
    BuilderSettings,
    ConvertSettings,
)
from icebreaker_gui.panels.setup.engine.choice import usable
from icebreaker_gui.panels.setup.engine.profiles import Profiles
from icebreaker_gui.panels.setup.engine.targets import Targets
from icebreaker_gui.session.session import Session
from icebreaker_gui.style import theme
from icebreaker_gui.style.widgets import Section, button, calm, form_grid, label, number
from icebreaker_gui.style.wording import worded

_FIELD_WIDTH = 148


def unmet(session: Session) -> str:
    """Why the engines that may be used cannot do what was chosen; nothing if they can, or are not known yet."""
    engines = usable(session)
    why = session.settings.unmet(engines) if engines else None
    return worded(why) if why else ""


class EngineOptions(Section):
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
        self._profiles = Profiles(session)
        column.addWidget(self._profiles)
        column.addLayout(self._make_grid())
        for widget in (self._fold, self._fields, self._problem, self._reset):
            self.body.addWidget(widget)
        for signal in (session.machineChanged, session.settingsChanged, session.graphChanged):
            signal.connect(self._update)
        self._update()

    def _make_grid(self) -> QGridLayout:
        """The fields of the options, with a label each."""
        self._level = self._make_level()
        self._hardware = self._make_hardware()
        self._weights = self._make_weights()
        self._versions = QCheckBox(self.tr("Later versions of TensorRT load it"))
        self._versions.setToolTip(
            self.tr("The engine carries a runtime of its own along, which is native code, and so it is larger")
        )
        self._versions.toggled.connect(lambda on: self._session.change(version_compatible=on))
        self._targets = Targets(self._session)
        labelled = (
            ("optimization_level", self.tr("Optimization level"), self._level),
            ("hardware_compatibility", self.tr("Runs on"), self._hardware),
            ("weights", self.tr("Weights"), self._weights),
        )
        grid, names = form_grid([(text, field) for _, text, field in labelled], field_width=_FIELD_WIDTH)
        self._rows: dict[str, tuple[QWidget, ...]] = {}
        for name, (option, _, field) in zip(names, labelled, strict=True):
            self._rows[option] = (name, field)
        for option, field in (("version_compatible", self._versions), ("compute_capabilities", self._targets)):
            grid.addWidget(field, len(self._rows), 0, 1, 2)
            self._rows[option] = (field,)
        return grid

    def _make_level(self) -> QSpinBox:
        tip = self.tr("How long TensorRT's builder searches for fast kernels, 0 to 5; automatic is 3")
        level = number(-1, MOST_OPTIMIZATION, -1, tip)
        level.setSpecialValueText(self.tr("automatic"))
        level.valueChanged.connect(lambda value: self._session.change(optimization_level=None if value < 0 else value))
        return level

    def _make_hardware(self) -> QComboBox:
        hardware = calm(QComboBox())
        words = self.tr("this GPU model"), self.tr("same capability"), self.tr("Ampere and later")
        for name, text in zip(HARDWARE_COMPATIBILITY, words, strict=True):
            hardware.addItem(text, name)
        hardware.setToolTip(
            self.tr(
                "Which GPUs the engine runs on: this model only, all of its compute capability, or all from 8.0 on. "
                "More of them may cost speed."
            )
        )
        hardware.activated.connect(lambda: self._session.change(hardware_compatibility=hardware.currentData()))
        return hardware

    def _make_weights(self) -> QComboBox:
        weights = calm(QComboBox())
        words = self.tr("fixed"), self.tr("refittable"), self.tr("weightless")
        for name, text in zip(WEIGHTS, words, strict=True):
            weights.addItem(text, name)
        weights.setToolTip(
            self.tr(
                "Fixed: nothing has to be done at loading. Refittable: TensorRT's Refitter can replace them later. "
                "Weightless: the engine gets them when it is loaded, from the ONNX model kept with it; the file "
                "gets no smaller."
            )
        )
        weights.activated.connect(lambda: self._session.change(weights=weights.currentData()))
        return weights

    def _update(self) -> None:
        settings, engines = self._session.settings, usable(self._session)
        offered = {name for name in ENGINE_OPTIONS if any(status.options.get(name) == "" for status in engines)}
        for name, widgets in self._rows.items():
            for widget in widgets:
                widget.setVisible(name in offered)
        self._profiles.show_inputs()
        self._targets.show_targets(next((status.targets for status in engines if status.targets), ()))
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
        has_fields = bool(offered) or self._profiles.has_inputs
        self._fold.setVisible(has_fields)
        self._fields.setVisible(has_fields and unfolded)
        self.setVisible(has_fields or bool(problem))

    def _on_reset(self) -> None:
        defaults = BuilderSettings()
        self._session.change(**{name: getattr(defaults, name) for name in ENGINE_OPTIONS})


def _differing(settings: ConvertSettings) -> list[str]:
    """The options that are not as an engine has them by itself."""
    defaults = BuilderSettings()
    return [name for name in ENGINE_OPTIONS if getattr(settings.builder, name) != getattr(defaults, name)]
