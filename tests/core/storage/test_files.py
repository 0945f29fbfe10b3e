"""What is written replaces files only; what a graph names is read from files only."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from icebreaker.errors import IcebreakerError
from icebreaker.storage.files import file_beside, read_beside, write_together, write_whole


def _device(path: Path) -> None:
    try:
        os.mknod(path, 0o20666, os.makedev(1, 3))  # /dev/null's
    except PermissionError:
        pytest.skip("only root may make a device")


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))


KINDS = {"a device": _device, "a pipe": os.mkfifo, "a socket": _socket, "a folder": Path.mkdir}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("linked", [False, True])
def test_only_files_are_replaced(tmp_path: Path, kind: str, linked: bool) -> None:
    odd, target = tmp_path / "odd", tmp_path / "link" if linked else tmp_path / "odd"
    KINDS[kind](odd)
    if linked:
        target.symlink_to("odd")
    before = odd.lstat()
    with pytest.raises(IcebreakerError, match=f"is .*{kind}") as caught:
        write_whole(target, b"new")
    assert "odd" in str(caught.value) or linked
    after = odd.lstat()
    assert (after.st_mode, after.st_ino) == (before.st_mode, before.st_ino)
    assert {item.name for item in tmp_path.iterdir()} == {"odd", target.name}, "nothing is left"


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    target, link = tmp_path / "far" / "file", tmp_path / "link"
    link.symlink_to("far/file")
    for content in (b"made", b"replaced"):
        write_whole(link, content)
        assert link.is_symlink() and target.read_bytes() == content
    assert [item.name for item in target.parent.iterdir()] == ["file"]
    link.unlink()
    link.symlink_to("link")
    with pytest.raises(IcebreakerError, match="a link in a circle"):
        write_whole(link, b"new")


def test_a_planted_temporary_file_is_not_written_through(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"whole")
    (tmp_path / ".out.job.tmp").symlink_to(victim)
    write_whole(tmp_path / "out", b"new", "job")
    assert victim.read_bytes() == b"whole" and (tmp_path / "out").read_bytes() == b"new"


def test_a_folder_of_side_files_is_no_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out.pb.weights").symlink_to("elsewhere")
    with pytest.raises(IcebreakerError, match="is a link, which is not followed"):
        write_together({tmp_path / "out.pb.weights" / "a": b"1", tmp_path / "out.pb": b"2"})
    assert not list((tmp_path / "elsewhere").iterdir()) and not (tmp_path / "out.pb").exists()


def test_any_name_that_a_file_may_have(tmp_path: Path) -> None:
    for name in ("a" * 255, "☃" * 85):
        write_together({tmp_path / name: b"1", tmp_path / (name[:-1] + "b"): b"2"}, "job")
        assert (tmp_path / name).read_bytes() == b"1"
    with pytest.raises(IcebreakerError, match="File name too long: give a shorter name"):
        write_whole(tmp_path / ("a" * 256), b"1")
    assert len(list(tmp_path.iterdir())) == 4


def test_what_a_graph_names_is_read_from_files_in_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "graph"
    folder.mkdir()
    (folder / "side").write_bytes(b"side")
    (folder / "inside").symlink_to("side")
    assert read_beside(folder, "side", 4) == read_beside(folder, "inside", 4) == b"side"
    with pytest.raises(IcebreakerError, match=r"at most 0\.0 GB are read"):
        read_beside(folder, "side", 3)
    (tmp_path / "secret").write_bytes(b"secret")
    (folder / "outside").symlink_to("../secret")
    (folder / "endless").symlink_to("/dev/zero")
    for name in ("outside", "endless"):
        with pytest.raises(IcebreakerError, match="a link that leads out of its folder: copy the file itself there"):
            file_beside(folder, name, 1 << 30)
    os.mkfifo(folder / "pipe")
    with pytest.raises(IcebreakerError, match="is no file"):
        file_beside(folder, "pipe", 1 << 30)
    (folder / "circle").symlink_to("circle")
    for name in ("gone", "circle"):
        with pytest.raises(OSError):
            file_beside(folder, name, 1 << 30)
    linked = tmp_path / "linked"
    linked.symlink_to("graph")
    assert read_beside(linked, "side", 4) == b"side", "the folder itself may be a link"
