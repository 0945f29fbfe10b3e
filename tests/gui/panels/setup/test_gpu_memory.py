"""The GPU's memory is shared by arithmetic that can be trusted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PySide6.QtWidgets import QPushButton
from pytestqt.qtbot import QtBot

from icebreaker.reports import Machine
from icebreaker_gui.panels.setup import gpu_memory
from icebreaker_gui.panels.setup.panel import Setup
from icebreaker_gui.session.session import Session


def test_twelve_gigabytes_with_four_for_engines() -> None:
    assert gpu_memory.fraction_for(12_000_000_000, 4_000_000_000) == 0.67
    assert gpu_memory.workspace_for(12_000_000_000, 0.67) == 4_000_000_000


@pytest.mark.parametrize(("total", "workspace"), [(0, 1), (8 << 30, 8 << 30), (8 << 30, 9 << 30), (80 << 30, 0)])
def test_what_leaves_nothing_is_not_proposed(total: int, workspace: int) -> None:
    assert gpu_memory.fraction_for(total, workspace) is None


@given(st.integers(10**9, 10**12), st.integers(5, 95))
def test_each_proposes_the_other(total: int, percent: int) -> None:
    workspace = gpu_memory.workspace_for(total, percent / 100)
    back = gpu_memory.fraction_for(total, workspace)
    # Both are rounded: the share to 0.01, the workspace to 0.1 GB.
    assert back is None or abs(back - percent / 100) <= 0.011 + 50_000_000 / total


def test_the_form_proposes(session: Session, qtbot: QtBot) -> None:
    setup = Setup(session)
    qtbot.addWidget(setup)
    setup.show()
    session.machine = Machine((), "a GPU", 12_000_000_000)
    session.machineChanged.emit()
    session.change(workspace_bytes=4_000_000_000)

    def offers() -> list[QPushButton]:
        buttons = setup.findChildren(QPushButton)
        return [item for item in buttons if item.text().startswith(("Share ", "Workspace ")) and not item.isHidden()]

    (share,) = offers()
    share.click()
    assert session.settings.memory_fraction == 0.67 and not offers()
    session.change(memory_fraction=0.5)
    assert [item.text().split()[1] for item in offers()] == ["0.67", "6"]
    offers()[1].click()
    assert session.settings.builder.workspace_bytes == 6_000_000_000 and not offers()
