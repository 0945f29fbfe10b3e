"""The why-not list and its bars."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QRect, Qt
from PySide6.QtWidgets import QApplication, QStyle, QStyleOptionViewItem

from helpers.graph_view import measured, shown


def test_the_why_not_list_counts_explains_and_jumps(both: Any, qtbot) -> None:
    tree = both.why_not._tree
    rows = [tree.topLevelItem(i).text(0) for i in range(tree.topLevelItemCount())]
    assert rows[0] == "2 ops: no converter for LookupTableFindV2, StringSplit"
    assert "1 op: segment of 1 is below the minimum of 3" in rows
    assert "77 %" in both.why_not._figure.text()
    first = tree.topLevelItem(0)
    tree.setCurrentItem(first)
    assert set(both.state.found) == {"decode/split", "label"}
    first.setExpanded(True)
    tree.setCurrentItem(first.child(0))
    assert both.state.selected == first.child(0).text(0)
    assert "decode/split" in shown(both.before_pane)
    small = next(i for i in range(tree.topLevelItemCount()) if "minimum" in rows[i])
    tree.setCurrentItem(tree.topLevelItem(small))
    assert "minimum segment size" in both.why_not._advice.text()


def test_coverage_of_time_once_it_is_measured(both: Any) -> None:
    assert both.why_not._bars[0].isVisibleTo(both) and not both.why_not._bars[1].isVisibleTo(both)
    both.show_benchmark(measured())
    assert [bar.accessibleName() for bar in both.why_not._bars] == [
        "77 % of ops in engines", "80 % of time before in engines", "50 % of time now in engines",
    ]  # fmt: skip
    tree = both.why_not._tree
    words = [tree.topLevelItem(row).text(0).replace("\u00a0", " ") for row in range(tree.topLevelItemCount())]
    assert any("no converter" in text and "50 % of the time now" in text for text in words)
    assert not any("minimum" in text and "time" in text for text in words)  # it took no time
    both.show_benchmark(None)
    assert not both.why_not._bars[1].isVisibleTo(both)


def test_reasons_are_shown_to_their_ends(both: Any) -> None:
    tree = both.why_not._tree
    for width in range(200, 320, 7):
        both._outer.setSizes([both.width() - width, width])
        tree.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        QApplication.processEvents()
        tree.doItemsLayout()
        tree.visualItemRect(tree.topLevelItem(0))
        tree.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOn)  # as when there are too many rows
        for row in range(tree.topLevelItemCount()):
            item, option = tree.topLevelItem(row), QStyleOptionViewItem()
            tree.initViewItemOption(option)
            tree.itemDelegate().initStyleOption(option, tree.indexFromItem(item))
            option.rect = tree.visualItemRect(item)
            room = tree.style().subElementRect(QStyle.SubElement.SE_ItemViewItemText, option, tree)
            room.adjust(3, 0, -3, 0)  # what the style leaves free beside words
            flags = int(Qt.TextFlag.TextWordWrap)
            needed = tree.fontMetrics().boundingRect(QRect(0, 0, room.width(), 10_000), flags, item.text(0))
            assert needed.height() <= room.height(), f"{item.text(0)!r} at {width}"
