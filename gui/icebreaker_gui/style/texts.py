"""Collects the library's texts for translators, beside the app's own, which Qt's tool finds by itself.

`make texts LANGUAGE=de`, or `python -m icebreaker_gui.style.texts icebreaker_de.ts`, brings a translator's file up to
date; what has been translated in it stays. The app looks for the library's texts in the context `wording.CONTEXT`.
"""

from __future__ import annotations

import ast
import re
import string
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import icebreaker
import icebreaker_gui
from icebreaker.messages import REMEDIES
from icebreaker.reports import REASONS
from icebreaker_gui.style import wording

_LIBRARY, _APP = (Path(package.__path__[0]) for package in (icebreaker, icebreaker_gui))
_SIDE_EFFECTS = _LIBRARY / "graph" / "side_effects.py"
_CODE = re.compile(r"[a-z][a-z0-9_]*")
_MAKERS = ("message", "Message", "IcebreakerError")  # their first two arguments are a code and a template


@dataclass(frozen=True)
class Text:
    """A template that the library or the app makes a message of.

    Attributes:
        code: The message's code.
        template: The English text.
        remedy: Code of what helps; empty if there is none, or it is chosen as the program runs.
        values: Names of what fills the template; None if they are not all written where the message is made.
        place: File and line.
    """

    code: str
    template: str
    remedy: str
    values: frozenset[str] | None
    place: str


def message_texts(*folders: Path) -> tuple[Text, ...]:
    """The templates of all messages that are made in these folders' modules; without any, in the library and the app.

    Raises:
        ValueError: A template is not written where it can be found: beside its code, or in a constant of the module.
    """
    modules = (path for folder in folders or (_LIBRARY, _APP) for path in sorted(folder.rglob("*.py")))
    return tuple(text for path in modules for text in _texts_in(path))


def all_templates() -> tuple[str, ...]:
    """Everything of the library that the app translates, each once, sorted."""
    named = _constants(ast.parse(_SIDE_EFFECTS.read_text("utf-8")))
    effects = (text for texts in named.values() for text in texts if " " in text)
    tables = (*REMEDIES.values(), *wording.REMEDIES.values(), *REASONS.values(), *effects)
    return tuple(sorted({*tables, *(text.template for text in message_texts())}))


def fields(template: str) -> frozenset[str]:
    """The names of the values that a template needs.

    Raises:
        ValueError: It is no template: a brace stands alone.
    """
    names = (name for _, name, _, _ in string.Formatter().parse(template) if name is not None)
    return frozenset(re.split(r"[.\[]", name)[0] for name in names)


def update(translations: Path) -> None:
    """Brings a translator's file (.ts) up to date with the texts of the app and the library.

    Raises:
        subprocess.CalledProcessError: Qt's tool failed.
        FileNotFoundError: Qt's tool is not installed.
    """
    tool = Path(sys.executable).with_name("pyside6-lupdate")
    with tempfile.TemporaryDirectory(prefix="icebreaker-texts-") as folder:
        module = Path(folder) / "library_texts.py"  # in a form that the tool reads
        calls = (f"QCoreApplication.translate({wording.CONTEXT!r}, {text!r})\n" for text in all_templates())
        module.write_text("from PySide6.QtCore import QCoreApplication\n" + "".join(calls), "utf-8")
        sources = [str(path) for path in (*sorted(_APP.rglob("*.py")), module)]
        subprocess.run([str(tool), *sources, "-ts", str(translations)], check=True)  # noqa: S603 - our own files


def _texts_in(path: Path) -> Iterator[Text]:
    tree = ast.parse(path.read_text("utf-8"))
    named = _constants(tree)
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call) or len(call.args) < 2:
            continue
        code, template = call.args[:2]
        maker = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        is_code = isinstance(code, ast.Constant) and isinstance(code.value, str) and _CODE.fullmatch(code.value)
        if not is_code or not (maker in _MAKERS or ("_" in ast.literal_eval(code) and _is_sentence(template))):
            continue
        place = f"{path}:{call.lineno}"
        templates = _strings(template, named)
        if not templates:
            raise ValueError(f"{place}: the template of {ast.unparse(code)} is computed")
        remedy = call.args[2] if len(call.args) > 2 else None
        names = [keyword.arg for keyword in call.keywords]
        values = None if None in names or maker == "Message" else frozenset(str(name) for name in names)
        remedies = _strings(remedy, {})
        for text in templates:
            yield Text(ast.literal_eval(code), text, remedies[0] if remedies else "", values, place)


def _is_sentence(expression: ast.expr) -> bool:
    """True for a text in words, by which helpers are known that make messages."""
    return isinstance(expression, ast.Constant) and isinstance(expression.value, str) and " " in expression.value


def _constants(tree: ast.Module) -> Mapping[str, tuple[str, ...]]:
    """Name → texts, of all variables that are set to texts, or to tuples or tables of them."""
    named: dict[str, tuple[str, ...]] = {"REASONS": tuple(REASONS.values())}
    for statement in ast.walk(tree):
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                pairs = [(name, value)]
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                pairs = [(name, value)]
            case ast.Assign(targets=[ast.Tuple(elts=targets)], value=ast.Tuple(elts=values)):
                pairs = [(ast.unparse(target), value) for target, value in zip(targets, values, strict=False)]
            case _:
                continue
        for name, value in pairs:
            named[name] = named.get(name, ()) + _strings(value, named)
    return named


def _strings(expression: ast.expr | None, named: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """The texts that an expression may stand for; empty if it is computed."""
    match expression:
        case ast.Constant(value=str() as text):
            return (text,)
        case ast.Name(id=name):
            return named.get(name, ())
        case ast.Subscript(value=table):
            return _strings(table, named)
        case ast.IfExp(body=one, orelse=other):
            return _strings(one, named) + _strings(other, named)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return tuple(one + other for one in _strings(left, named) for other in _strings(right, named))
        case ast.Tuple(elts=parts) | ast.Dict(values=parts):
            texts = [_strings(part, named) for part in parts]
            return tuple(text for part in texts for text in part) if all(texts) else ()
        case _:
            return ()


if __name__ == "__main__":
    update(Path(sys.argv[1]))
