"""Back, forward and the path to what is chosen."""

from __future__ import annotations

from typing import Any


def test_back_forward_and_breadcrumbs(panel: Any) -> None:
    panel.go_to("decode/split")
    panel.go_to("net/two/add")
    assert "two" in panel.navigation.path.text()
    panel.navigation.back.trigger()
    assert panel.state.selected == "decode/split"
    assert not panel.navigation.back.isEnabled()
    panel.navigation.forward.trigger()
    assert panel.state.selected == "net/two/add"
    panel.navigation.path.linkActivated.emit("net/two/")
    assert panel.state.selected == "net/two/"
