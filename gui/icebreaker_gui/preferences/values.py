"""What the user has chosen, kept in their settings, and put into effect when the app starts and when it changes."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from PySide6.QtCore import QLibraryInfo, QLocale, QSettings, QTranslator
from PySide6.QtWidgets import QApplication

from icebreaker.errors import IcebreakerError
from icebreaker_gui.session.session import Session
from icebreaker_gui.style import theme

SYSTEM, ENGLISH = "system", "en"
_TRANSLATIONS = Path(str(files("icebreaker_gui.resources"))) / "translations"
_PREFIX = "icebreaker_"
_LIMITS = {"memory_bytes": int, "time_seconds": float, "patience_seconds": float, "threads": int}


def languages() -> dict[str, str]:
    """Code → name in its own words, of English and of every translation that is installed."""
    codes = [path.stem.removeprefix(_PREFIX) for path in sorted(_TRANSLATIONS.glob(f"{_PREFIX}*.qm"))]
    names = {code: QLocale(code).nativeLanguageName().capitalize() or code for code in codes}
    return {ENGLISH: "English", **names}


def chosen(key: str, default: str = SYSTEM) -> str:
    """A choice, such as `theme` or `language`."""
    return str(QSettings().value(f"preferences/{key}", default))


def choose(key: str, value: str) -> None:
    """Keeps a choice."""
    QSettings().setValue(f"preferences/{key}", value)


def show_theme(app: QApplication) -> None:
    """Puts the chosen theme into effect."""
    name = chosen("theme")
    theme.choose(app, name if name in theme.THEMES else None)


def translate_app(app: QApplication) -> None:
    """Installs the chosen language; before the first window is made, since texts are fetched as widgets are made."""
    code = chosen("language")
    wanted = QLocale.system().name() if code == SYSTEM else code
    if wanted.partition("_")[0] == ENGLISH:
        return
    for folder, prefix in (
        (Path(QLibraryInfo.path(QLibraryInfo.LibraryPath.TranslationsPath)), "qtbase_"), (_TRANSLATIONS, _PREFIX),
    ):  # fmt: skip
        translator = QTranslator(app)
        if translator.load(QLocale(wanted), prefix, "", str(folder)):
            app.installTranslator(translator)


def keep_limits(session: Session) -> None:
    """Keeps what workers may take for the next start."""
    for name in _LIMITS:
        value = getattr(session.limits, name)
        QSettings().setValue(f"preferences/{name}", "" if value is None else str(value))


def restore_limits(session: Session) -> None:
    """Gives a session the limits that were kept; what is not in order is left as it is."""
    values: dict[str, int | float | None] = {}
    for name, kind in _LIMITS.items():
        text = str(QSettings().value(f"preferences/{name}", ""))
        if text:
            try:
                values[name] = kind(text)
                session.limit(**values)
            except (ValueError, IcebreakerError):
                values.pop(name, None)
