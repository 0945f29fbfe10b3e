"""Reading a graph without its weights: the same graph otherwise, and never anything worse than an error."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers.paths import DIGITS
from icebreaker.errors import IcebreakerError
from icebreaker.formats import graph_files, structure
from icebreaker.graph.graph import Graph
from icebreaker.graph.protos import GraphDef
from icebreaker.storage.weight_store import Store


def _seen(graph: Graph) -> list:
    return [(node.name, node.op, node.inputs, node.controls, dict(node.attrs)) for node in graph]


def test_only_the_weights_are_left_out() -> None:
    whole, shown = graph_files.read_graph(DIGITS), graph_files.read_structure(DIGITS)
    assert _seen(whole) == _seen(shown)
    assert graph_files.describe(whole) == graph_files.describe(shown)
    assert shown.definition.ByteSize() < DIGITS.stat().st_size / 10


def test_what_was_left_out_can_be_had_one_by_one() -> None:
    whole, shown = graph_files.read_graph(DIGITS), graph_files.read_structure(DIGITS)
    name = "block1/conv1/weights"
    found = graph_files.read_constant(DIGITS, name)
    assert found is not None
    assert found.definition == whole[name].definition != shown[name].definition
    assert graph_files.read_constant(DIGITS, "block1/conv1") is None  # no constant
    assert graph_files.read_constant(DIGITS, "nowhere") is None
    assert graph_files.read_constant(DIGITS.with_name("nowhere.pb"), name) is None


def test_reading_a_constant_survives_any_file(tmp_path: Path) -> None:
    for number, content in enumerate(
        (b"", b"\x0a", b"\x0a\xff\xff\x01", b"node { name: 'a' }", DIGITS.read_bytes()[:5000])
    ):
        path = tmp_path / f"{number}.pb"
        path.write_bytes(content)
        assert graph_files.read_constant(path, "block1/conv1/weights") is None


@pytest.mark.parametrize("length", [0, 1, 1000, 100_000])
def test_what_is_cut_short_is_refused(tmp_path: Path, length: int) -> None:
    cut = tmp_path / "cut.pb"
    cut.write_bytes(DIGITS.read_bytes()[:length])
    with pytest.raises((ValueError, OSError)):
        structure.read(cut)
    with pytest.raises(IcebreakerError, match=r"cut\.pb"):
        graph_files.read_structure(cut)


def test_a_big_graph_with_a_damaged_constant_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first look leaves out what is damaged."""
    monkeypatch.setattr(graph_files, "BIG_BYTES", 0)
    definition = GraphDef()
    tensor = definition.node.add(name="c", op="Const").attr["value"].tensor
    tensor.dtype = 19
    tensor.half_val.extend([1] * 6000)
    path = tmp_path / "damaged.pb"
    path.write_bytes(definition.SerializeToString().replace(b"\x01" * 6000, b"\xff" * 6000))
    assert len(structure.read(path).node) == 1
    with pytest.raises(IcebreakerError, match="damaged"):
        graph_files.read_graph(path, store=Store(tmp_path))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_broken_bytes_never_crash(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(DIGITS.read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    broken = tmp_path / "broken.pb"
    broken.write_bytes(bytes(content))
    try:
        graph = graph_files.read_structure(broken)
    except IcebreakerError as error:
        assert "\n" not in str(error)
    else:
        assert len(graph)
