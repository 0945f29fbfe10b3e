"""Every text of the library reaches translators, and what the app shows of it passes their translation."""

from __future__ import annotations

import ast
import re
import shutil
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import QTranslator
from PySide6.QtWidgets import QApplication

from icebreaker.errors import IcebreakerError
from icebreaker.messages import REMEDIES, message
from icebreaker.reports import REASONS, SideEffect
from icebreaker_gui.session.consent import Permissions
from icebreaker_gui.style import texts, wording

ROOT = Path(__file__).parents[3]


def test_every_code_is_found() -> None:
    made = re.compile(r"\b(?:message|Message|IcebreakerError)\(\s*\"([a-z0-9_]+)\",")
    sources = (path.read_text("utf-8") for name in ("core", "gui") for path in (ROOT / name).rglob("*.py"))
    codes = {code for source in sources for code in made.findall(source)}
    assert len(codes) > 30
    assert codes <= {text.code for text in texts.message_texts()}


def test_every_template_gets_the_values_that_it_names() -> None:
    for text in texts.message_texts():
        assert not text.remedy or text.remedy in REMEDIES, text
        needed = texts.fields(text.template) | texts.fields(REMEDIES.get(text.remedy, ""))
        if text.values is not None:
            assert needed <= text.values | {"subject", "remedy"}, text


def test_the_apps_remedies_need_no_more_than_the_librarys() -> None:
    for code, template in wording.REMEDIES.items():
        assert texts.fields(template) <= texts.fields(REMEDIES[code]), code
        assert "--" not in template


def test_all_that_is_translated_is_collected() -> None:
    templates = set(texts.all_templates())
    assert {*REMEDIES.values(), *wording.REMEDIES.values(), *REASONS.values()} <= templates
    assert {"writes files", "{subject} is not a folder"} <= templates
    assert "" not in templates


def test_a_computed_template_is_told(tmp_path: Path) -> None:
    (tmp_path / "good.py").write_text('TEXTS = ("one", "two {n}")\nmessage("some_code", TEXTS[n], n=2)\n')
    assert [text.template for text in texts.message_texts(tmp_path)] == ["one", "two {n}"]
    (tmp_path / "bad.py").write_text('message("some_code", made_up(), n=2)\n')
    with pytest.raises(ValueError, match=r"bad\.py:1: the template of 'some_code' is computed"):
        texts.message_texts(tmp_path)


def test_a_translators_file_has_them(tmp_path: Path) -> None:
    if not shutil.which(str(Path(sys.executable).with_name("pyside6-lupdate"))):
        pytest.skip("pyside6-lupdate is not installed")
    target = tmp_path / "icebreaker_de.ts"
    texts.update(target)
    contexts = {
        context.findtext("name"): {source.text for source in context.iter("source")}
        for context in ET.parse(target).getroot().iter("context")  # noqa: S314 - just made
    }
    assert contexts[wording.CONTEXT] == set(texts.all_templates())
    assert "Convert again" in contexts["ConvertBar"]


class Shouting(QTranslator):
    """A language that is English in capitals, with fields as they are."""

    def translate(self, context: str, text: str, disambiguation: str | None = None, n: int = -1) -> str:  # type: ignore[override]
        """Only the library's texts."""
        return re.sub(r"(?<!\{)\b\w+\b(?!\})", lambda word: word[0].upper(), text) if context == wording.CONTEXT else ""


@pytest.fixture
def shouting(qapp: QApplication) -> Iterator[None]:
    translator = Shouting()
    qapp.installTranslator(translator)
    yield
    qapp.removeTranslator(translator)


@pytest.mark.usefixtures("shouting")
def test_messages_remedies_and_errors_are_translated() -> None:
    stage = message("stage_reading", "Reading {subject}", subject="graph.pb")
    assert wording.worded(stage) == "READING graph.pb"
    within = message("segment_failed", "{subject}: {why}", subject="x", why=message("why_so", "it is too large"))
    assert wording.worded(within) == "x: IT IS TOO LARGE"
    limit = message("time_limit", "took more than {seconds} s", "one_engine_or_more_time", seconds=3)
    assert wording.worded(limit) == "TOOK MORE THAN 3 S: " + wording.REMEDIES["one_engine_or_more_time"].upper()
    assert (
        wording.error_text(IcebreakerError("file_missing", "{subject} is missing", subject="a.pb")) == "a.pb IS MISSING"
    )
    assert wording.worded("words of a vendor") == "words of a vendor"


@pytest.mark.usefixtures("shouting")
def test_effects_are_translated(qapp: QApplication) -> None:
    asked = []
    permissions = Permissions(qapp)
    permissions.consentWanted.connect(lambda text, _then: asked.append(text))
    permissions.may_run([SideEffect("write", "WriteFile", "writes files")], lambda: None)
    assert asked == ["write (WriteFile) WRITES FILES"]


def test_nothing_is_shown_past_the_translation() -> None:
    """`str(error)` and `str(message)` are English; of the app's own modules only those that log for programmers may."""
    offences = []
    for path in (ROOT / "gui").rglob("*.py"):
        if path.name in ("wording.py", "preview.py") or {"graph_view", "layout"} & set(path.parts):
            continue
        for call in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(call, ast.Call) and ast.unparse(call) in ("str(error)", "str(message)"):
                offences.append(f"{path}:{call.lineno}")
    assert not offences
