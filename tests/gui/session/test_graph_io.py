"""Graphs are read and saved without TensorFlow, with all that lies beside them."""

from __future__ import annotations

from pathlib import Path

import pytest

from icebreaker.errors import IcebreakerError
from icebreaker_gui.session import graph_io
from icebreaker_gui.session.graph_io import copy_graph


@pytest.mark.parametrize(
    ("name", "stem"),
    [("a.pb", "a"), ("a.optimized.pb.gz", "a.optimized"), ("a.v2.h5", "a.v2"), ("folder", "folder"), ("A.PB", "A")],
)
def test_stem(name: str, stem: str) -> None:
    assert graph_io.stem(Path("somewhere") / name) == stem


def test_the_samples_values_come_with_it(digits: Path, tmp_path: Path) -> None:
    data = graph_io.sample_data(digits)
    assert data and Path(data).is_file()
    copy = tmp_path / "digits.pb"
    copy.write_bytes(digits.read_bytes())
    assert graph_io.sample_data(copy) is None


def test_a_folder_that_does_not_exist_is_told(digits: Path, tmp_path: Path) -> None:
    with pytest.raises(IcebreakerError, match="nowhere is not a folder: choose another place"):
        copy_graph(digits, tmp_path / "nowhere" / "a.pb")


def test_saving_again_leaves_no_side_files_behind(tmp_path: Path) -> None:
    home, there = tmp_path / "run1", tmp_path / "there"
    for folder in (home, there):
        folder.mkdir()
    names = [f"g.optimized.pb.TRTEngineOp_000.{text}.onnx" for text in ("0123abcd", "4567abcd", "89abcdef")]

    def save(name: str, target: str) -> set[str]:
        for item in home.iterdir():
            item.unlink()
        (home / name).write_bytes(b"engine")
        source = home / "g.optimized.pb"
        source.write_bytes(b"\x0a" + name.encode())  # a GraphDef begins with this byte
        copy_graph(source, there / target)
        return {item.name for item in there.iterdir()}

    assert save(names[0], "one.pb") == {"one.pb", names[0]}
    assert save(names[1], "one.pb") == {"one.pb", names[1]}
    assert save(names[2], "two.pb") == {"one.pb", "two.pb", names[1], names[2]}
