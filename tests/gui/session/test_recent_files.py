"""The files opened lately."""

from __future__ import annotations

from pathlib import Path

from pytestqt.qtbot import QtBot

from icebreaker_gui.session.recent_files import RecentFiles


def test_the_last_comes_first_and_few_are_kept(qtbot: QtBot, tmp_path: Path) -> None:
    recent = RecentFiles()
    assert recent.paths == []
    for number in range(10):
        recent.add(tmp_path / f"{number}.pb")
    recent.add(tmp_path / "7.pb")
    assert [Path(path).stem for path in recent.paths] == ["7", "9", "8", "6", "5", "4", "3", "2"]
    assert RecentFiles().paths == recent.paths, "they outlive the app"
    with qtbot.waitSignal(recent.changed):
        recent.clear()
    assert recent.paths == []
