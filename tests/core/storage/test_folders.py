"""A SavedModel's folder is there whole or not at all, and replaces nothing but a SavedModel."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import pytest

from icebreaker.errors import IcebreakerError
from icebreaker.jobs.supervisor import remove_partial_output
from icebreaker.storage.folders import write_folder


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_is_made_and_a_saved_model_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    write_folder(folder, {"saved_model.pb": b"one", "assets/words.txt": b"a", "saved_model.pb.T.1.engine": b"e"})
    (tmp_path / "piece").write_bytes(b"w")
    write_folder(folder, {"saved_model.pb": b"two", "variables/variables.index": [b"v", tmp_path / "piece"]})
    assert content(folder) == {"saved_model.pb": b"two", "variables/variables.index": b"vw"}
    (tmp_path / "link").symlink_to(folder)
    write_folder(tmp_path / "link", {"saved_model.pb": b"three"})
    assert content(folder) == {"saved_model.pb": b"three"} and (tmp_path / "link").is_symlink()
    assert names(tmp_path) == ["link", "model", "piece"]


@pytest.mark.parametrize(
    ("there", "words"),
    [
        ({}, "is a folder"),
        ({"thesis.tex": b""}, "is a folder"),
        ({"saved_model.pb": b"", "thesis.tex": b""}, "'thesis.tex' in it is no part of a SavedModel"),
        ({"saved_model.pb": b"", "assets.extra/mine": b""}, "'assets.extra' in it is no part"),
    ],
)
def test_what_else_is_in_a_folder_stays(there: dict[str, bytes], words: str, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    for name, data in there.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)
    with pytest.raises(IcebreakerError, match=words):
        write_folder(folder, {"saved_model.pb": b"new"})
    assert content(folder) == there and names(tmp_path) == ["mine"]


def test_a_file_is_not_replaced_by_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(IcebreakerError, match="is no folder"):
        write_folder(tmp_path / "file", {"saved_model.pb": b"new"})
    assert (tmp_path / "file").read_bytes() == b"mine"


def test_nothing_is_left_of_what_could_not_be_written(tmp_path: Path) -> None:
    write_folder(tmp_path / "model", {"saved_model.pb": b"old"})
    for folder in (tmp_path / "model", tmp_path / "other"):
        with pytest.raises(IcebreakerError, match="could not be written: No such file"):
            write_folder(folder, {"saved_model.pb": b"new", "assets/words.txt": tmp_path / "gone"})
    assert names(tmp_path) == ["model"] and content(tmp_path / "model") == {"saved_model.pb": b"old"}


def test_a_killed_jobs_folder_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".model.0123.tmp" / "variables").mkdir(parents=True)
    remove_partial_output(f"{tmp_path}/model/", "0123")
    assert not names(tmp_path)


def test_a_file_system_that_cannot_exchange_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lacks(*_: Any, **__: Any) -> Any:
        return object()

    write_folder(tmp_path / "model", {"saved_model.pb": b"old"})
    monkeypatch.setattr(ctypes, "CDLL", lacks)
    write_folder(tmp_path / "model", {"saved_model.pb": b"new"})
    assert names(tmp_path) == ["model"] and content(tmp_path / "model") == {"saved_model.pb": b"new"}
