"""How much is remembered, and forgetting it."""

from __future__ import annotations

from pathlib import Path

import pytest

from icebreaker.storage import cache


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ICEBREAKER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_kinds_are_told_and_cleared_apart(folder: Path, tmp_path: Path) -> None:
    assert cache.size("one", "two") == 0
    cache.write_blob("one", "0" * 64, b"x" * 1000)
    cache.write_blob("two", "0" * 64, b"x" * 10)
    assert (cache.size("one", "two"), cache.size("two")) == (1010, 10)
    cache.clear("one")
    assert (cache.size("one"), cache.size("two")) == (0, 10)
    assert cache.read_blob("two", "0" * 64) == b"x" * 10


def test_links_are_not_followed(folder: Path, tmp_path: Path) -> None:
    cache.write_blob("one", "0" * 64, b"x")
    other = tmp_path / "precious"
    other.write_bytes(b"y" * 100)
    (folder / "one" / "link").symlink_to(other)
    assert cache.size("one") == 1
    cache.clear("one")
    assert other.read_bytes() == b"y" * 100
