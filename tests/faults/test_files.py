"""A disk that is full, a folder that cannot be written, files that vanish: one line, and nothing half-written."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.paths import DIGITS as SAMPLE
from icebreaker import events
from icebreaker.conversion.pipeline import convert
from icebreaker.errors import IcebreakerError
from icebreaker.formats import graph_files
from icebreaker.graph.protos import GraphDef
from icebreaker.jobs import supervisor
from icebreaker.jobs.requests import Convert, Inspect
from icebreaker.runtime import artifact_writer
from icebreaker.settings import ConvertSettings
from icebreaker.storage.files import write_whole


def mounted(folder: Path, options: str) -> Iterator[Path]:
    folder.mkdir()
    mount = shutil.which("mount")
    if not mount or os.geteuid() or subprocess.run([mount, "-t", "tmpfs", "-o", options, "none", folder]).returncode:
        pytest.skip("only root may mount a file system")
    yield folder
    subprocess.run(["/bin/umount", "-l", folder], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk with room for half a megabyte."""
    yield from mounted(tmp_path / "small", "size=512k")


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A folder that nobody can write to, root included."""
    yield from mounted(tmp_path / "fixed", "ro")


def test_a_full_disk_keeps_what_was_there(small_disk: Path) -> None:
    path = small_disk / "out.pb"
    write_whole(path, b"before")
    with pytest.raises(IcebreakerError, match="No space left on device: choose another folder or free some space"):
        write_whole(path, bytes(1 << 20))
    assert path.read_bytes() == b"before" and [item.name for item in small_disk.iterdir()] == ["out.pb"]


def test_a_full_disk_leaves_no_side_file(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifact_writer, "INLINE_BYTES", 100)
    definition = GraphDef()
    for number in range(3):
        node = definition.node.add(name=f"TRTEngineOp_{number:03}", op="PartitionedCall")
        node.attr["_icebreaker_payload"].s = bytes(300_000)
    with pytest.raises(IcebreakerError, match="No space left"):
        artifact_writer.write(definition, small_disk / "out.pb")
    assert not list(small_disk.iterdir())


def test_a_conversion_onto_a_full_disk(small_disk: Path) -> None:
    """The whole way: a worker with a real engine, whose result has no room."""
    (small_disk / "out.pb").write_bytes(b"before")
    settings = ConvertSettings.of(engine="onnxruntime", minimum_segment_size=1)
    request = Convert(model=str(SAMPLE), output=str(small_disk / "out.pb"), settings=settings)
    final = supervisor.Job(request, lambda event: None).start().wait(300)
    assert isinstance(final, events.Failed) and "No space left on device" in str(final.message)
    assert [item.name for item in small_disk.iterdir()] == ["out.pb"]
    assert (small_disk / "out.pb").read_bytes() == b"before"


def test_a_disk_without_room_for_temporary_files(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(small_disk))
    with pytest.raises(OSError, match="No space left"):
        (small_disk / "filler").write_bytes(bytes(1 << 20))
    final = supervisor.Job(Inspect(model=str(SAMPLE)), lambda event: None).start().wait(300)
    # The journal and the temporary folder may find no room; reading a graph needs neither.
    assert isinstance(final, events.Done | events.Failed)
    if isinstance(final, events.Failed):
        assert "No space left" in str(final.message)
    assert [item.name for item in small_disk.iterdir()] == ["filler"]


def test_a_folder_that_cannot_be_written_is_told_before_the_work(read_only: Path) -> None:
    with pytest.raises(IcebreakerError, match="cannot be written to: choose another folder"):
        convert(SAMPLE, read_only / "out.pb", ConvertSettings())
    with pytest.raises(IcebreakerError, match="Read-only file system"):
        write_whole(read_only / "out.pb", b"x")


def test_a_file_that_vanishes_or_may_not_be_read(tmp_path: Path) -> None:
    with pytest.raises(IcebreakerError, match="does not exist: check the path"):
        graph_files.read_graph(tmp_path / "gone.pb")
    fifo = tmp_path / "folder.pb"
    fifo.mkdir()
    with pytest.raises(IcebreakerError, match="folder without a saved_model"):
        graph_files.read_graph(fifo)


def test_special_files_are_not_waited_for(tmp_path: Path) -> None:
    """Opening a pipe that nobody writes to would hang the app."""
    pipe = tmp_path / "pipe.pb"
    os.mkfifo(pipe)
    for path in (pipe, Path("/dev/zero")):
        for read in (graph_files.read_graph, graph_files.read_structure):
            with pytest.raises(IcebreakerError, match="is no file"):
                read(path)
