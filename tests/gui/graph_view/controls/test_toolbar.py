"""The toolbar's buttons."""

from __future__ import annotations

from typing import Any


def test_buttons_follow_their_actions_and_do_not_gather_connections(both: Any) -> None:
    from PySide6.QtCore import SIGNAL
    from PySide6.QtWidgets import QToolButton

    buttons = {item.text(): item for item in both.findChildren(QToolButton)}
    actions = both.toolbar.mode_actions.values()
    listening = [action.receivers(SIGNAL("changed()")) for action in actions]
    for _ in range(10):
        both.set_mode("both")
        both.set_mode("before")
    assert [action.receivers(SIGNAL("changed()")) for action in actions] == listening
    assert buttons["After"].isEnabled() and buttons["Before"].isChecked() and not buttons["Side by side"].isChecked()
    buttons["Before"].click()  # chosen already: it stays so
    assert buttons["Before"].isChecked()
    buttons["After"].click()
    assert both.mode == "after" and buttons["After"].isChecked() and not buttons["Before"].isChecked()
    both.show_graph(both.state.data.graph, (), None)
    assert not buttons["After"].isEnabled() and buttons["Before"].isChecked()
