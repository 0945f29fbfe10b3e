"""Engines are known as built here by a proof that takes the user's key, and by nothing that a file alone can bring."""

from __future__ import annotations

import json
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest

from icebreaker.storage import cache, trusted_engines
from icebreaker.storage.trusted_engines import BuiltEngine, built_here, remember_engines

ENGINE = BuiltEngine("openvino", "fp32", "a" * 64)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache folder, which is not there yet."""
    monkeypatch.setenv("ICEBREAKER_CACHE", str(tmp_path / "new" / "cache"))
    return tmp_path / "new" / "cache"


def test_the_latest_engines_are_known(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trusted_engines, "_MOST_REMEMBERED", 3)
    engines = [replace(ENGINE, sha256=f"{number:064x}") for number in range(5)]
    for age, engine in enumerate(engines[:4]):
        remember_engines([engine])
        moment = time.time() - 100 + age
        for note in (folder / "engines").iterdir():
            if time.time() - note.stat().st_mtime < 50:
                os.utime(note, (moment, moment))
    remember_engines([engines[1], engines[4]])
    assert [built_here(engine) for engine in engines] == [False, True, False, True, True]


def test_engine_precision_and_payload_are_one_thing() -> None:
    remember_engines([ENGINE])
    assert built_here(ENGINE)
    for change in ({"engine": "tensorrt"}, {"precision": "fp16"}, {"sha256": "b" * 64}, {"sha256": ""}):
        assert not built_here(replace(ENGINE, **change))


def test_a_file_alone_makes_no_engine_trusted(folder: Path, tmp_path: Path) -> None:
    other = replace(ENGINE, sha256="b" * 64)
    remember_engines([ENGINE])
    (mine,) = (folder / "engines").iterdir()
    remember_engines([other])
    theirs = next(note for note in (folder / "engines").iterdir() if note != mine)
    for content in ("{}", mine.read_text(), json.dumps({"proof": None}), json.dumps({"proof": "☃"})):
        theirs.write_text(content)
        assert not built_here(other)
    theirs.unlink()
    theirs.symlink_to(mine)
    assert not built_here(other) and built_here(ENGINE)
    note = tmp_path / "note.json"
    mine.rename(note)
    mine.symlink_to(note)
    assert not built_here(ENGINE), "a link is not followed"
    remember_engines([ENGINE])
    assert built_here(ENGINE) and not mine.is_symlink() and "proof" in note.read_text()


def test_folders_and_key_are_the_users_own(folder: Path) -> None:
    previous = os.umask(0)
    try:
        remember_engines([ENGINE])
    finally:
        os.umask(previous)
    for part in (folder.parent, folder, folder / "engines"):
        assert part.stat().st_mode & 0o777 == 0o700
    assert (folder / "key").stat().st_mode & 0o777 == 0o600 and len((folder / "key").read_bytes()) == 32


@pytest.mark.parametrize("place", [".", "..", "engines"])
def test_a_folder_that_others_may_write_to_proves_nothing(folder: Path, place: str) -> None:
    remember_engines([ENGINE])
    (folder / place).chmod(0o777)
    assert not built_here(ENGINE)
    (folder / place).chmod(0o700)
    assert built_here(ENGINE)


def test_a_linked_folder_proves_nothing(folder: Path, tmp_path: Path) -> None:
    remember_engines([ENGINE])
    shutil.move(folder / "engines", tmp_path / "engines")
    (folder / "engines").symlink_to(tmp_path / "engines")
    assert not built_here(ENGINE)


def test_another_users_files_prove_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    remember_engines([ENGINE])
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert not built_here(ENGINE)


@pytest.mark.parametrize("kind", ["readable", "short", "pipe", "link", "gone"])
def test_a_key_that_others_may_know_is_replaced(folder: Path, tmp_path: Path, kind: str) -> None:
    remember_engines([ENGINE])
    key = folder / "key"
    before = key.read_bytes()
    match kind:
        case "readable":
            key.chmod(0o644)
        case "short":
            key.write_bytes(b"short")
        case "pipe":
            key.unlink()
            os.mkfifo(key, 0o600)
        case "link":
            key.rename(tmp_path / "key")
            key.symlink_to(tmp_path / "key")
        case "gone":
            key.unlink()
    assert not built_here(ENGINE)
    assert len(cache.secret()) == 32 and cache.secret() != before
    remember_engines([ENGINE])
    assert built_here(ENGINE)
