"""The shapes that engines are tuned for."""

from __future__ import annotations

from PySide6.QtWidgets import QLineEdit, QVBoxLayout, QWidget

from icebreaker.errors import IcebreakerError
from icebreaker.graph.graph import Placeholder
from icebreaker.settings import parse_profile, profile_text
from icebreaker_gui.panels.setup.model.inputs import check_shape
from icebreaker_gui.session.session import Session
from icebreaker_gui.style import theme
from icebreaker_gui.style.widgets import Elided, label
from icebreaker_gui.style.wording import error_text

_MOST_PROFILES = 6


class Profiles(QWidget):
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
        inputs = tuple(placeholder for placeholder in graph.placeholders if _is_open(placeholder)) if graph else ()
        if inputs[:_MOST_PROFILES] != self._shown:
            self._shown = inputs[:_MOST_PROFILES]
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
        for placeholder in self._shown:
            name = Elided(self.tr("{name}: smallest, usual, largest shape").format(name=placeholder.name))
            field = QLineEdit(placeholderText=_example(placeholder))
            field.setToolTip(
                self.tr(
                    "The smallest, the usual and the largest shape of {name}, in elements. Engines are tuned for the "
                    "usual one and checked at all three; TensorRT takes nothing outside of them. Empty: sizes are "
                    "guessed."
                ).format(name=placeholder.name)
            )
            field.setAccessibleName(name.text())
            field.editingFinished.connect(lambda name=placeholder.name: self._on_edited(name))
            self._fields[placeholder.name] = field
            self._column.addWidget(name)
            self._column.addWidget(field)
        self._column.addWidget(self._problem)

    def _on_edited(self, name: str) -> None:
        field, settings = self._fields[name], self._session.settings
        profiles = {other: profile for other, profile in settings.profiles.items() if other != name}
        shapes = {other: shape for other, shape in settings.input_shapes.items() if other != name}
        text = field.text().strip()
        try:
            if text:
                profiles[name] = parse_profile(f"{name}={text}")[1]
                placeholder = next(shown for shown in self._shown if shown.name == name)
                for shape in profiles[name]:
                    check_shape(placeholder, shape)
        except IcebreakerError as error:
            _mark(field, True)
            self._problem.setText(error_text(error))
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


def _example(placeholder: Placeholder) -> str:
    """Shapes that would fit, to show how they are written."""
    if placeholder.shape is None:
        return "1x8, 4x32, 8x128"
    lengths = (64, 224, 512) if len(placeholder.shape) == 4 else (8, 32, 128)
    shapes = []
    for batch, length in zip((1, 4, 8), lengths, strict=True):
        sizes = [length if size is None else size for size in placeholder.shape]
        if placeholder.shape and placeholder.shape[0] is None:
            sizes[0] = batch
        shapes.append(tuple(sizes))
    return profile_text(tuple(shapes))


def _is_open(placeholder: Placeholder) -> bool:
    """True where a dimension behind the batch is open."""
    return placeholder.shape is None or None in placeholder.shape[1:]
