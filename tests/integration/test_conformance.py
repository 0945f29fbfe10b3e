"""A few of the real graphs, converted by the command line and compared; `make conformance` does all of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import conformance

pytestmark = pytest.mark.skipif(
    not conformance.SHARED.is_dir(), reason=f"the real graphs are not here: {conformance.SHARED} is missing"
)


@pytest.mark.parametrize(
    ("name", "coverage"),
    [
        ("facenet_mtcnn_pnet", 0.9),  # one engine, open height and width
        ("foolnltk_seg", 0.0),  # loops all over: right, if little of it converts
    ],
)
def test_outputs_match_the_references(name: str, coverage: float, tmp_path: Path) -> None:
    (entry,) = [item for item in conformance.manifest() if item["name"] == name]
    # A fixed engine: what `auto` keeps depends on how busy the machine is.
    row = conformance.check(entry, tmp_path, "--engine", "openvino")
    assert row["agrees"], row
    assert row["coverage"] >= coverage, row
