"""Where Tab leads: from each control that is seen to the next one, all around the window.

Not by Qt's own chain: panels are made before they are put into docks, and what is put elsewhere afterwards leaves the
chain in two circles, so that nobody came out of the graph by keys alone.
"""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication, QRadioButton, QScrollArea, QWidget


def move_focus(window: QWidget, forward: bool, hides: Callable[[QWidget], bool]) -> bool:
    """Gives the keys to the next control of a window, or the one before.

    Args:
        window: The window.
        forward: To the next, or back.
        hides: Whether a control lies behind something.

    Returns:
        False if there is no other.
    """
    here = QApplication.focusWidget()
    order = [widget for widget in window.findChildren(QWidget) if widget is here or _takes(widget, window, hides)]
    if here in order:
        place = order.index(here)
        order = order[place + 1 :] + order[:place]
    if not order:
        return False
    reason = Qt.FocusReason.TabFocusReason if forward else Qt.FocusReason.BacktabFocusReason
    target = order[0 if forward else -1]
    target.setFocus(reason)
    around = target.parentWidget()
    while around is not None:
        if isinstance(around, QScrollArea):
            around.ensureWidgetVisible(target)
        around = around.parentWidget()
    return True


def _takes(widget: QWidget, window: QWidget, hides: Callable[[QWidget], bool]) -> bool:
    """Whether Tab stops there: of buttons of which one is chosen, at that one only, as everywhere."""
    if not widget.focusPolicy() & Qt.FocusPolicy.TabFocus or not widget.isEnabled() or not widget.isVisible():
        return False
    if widget.window() is not window or widget.focusProxy() is not None or hides(widget):
        return False
    if isinstance(widget, QRadioButton) and widget.autoExclusive() and not widget.isChecked():
        parent = widget.parentWidget()
        siblings = parent.findChildren(QRadioButton) if parent else []
        return not any(other.isChecked() for other in siblings)
    return True
