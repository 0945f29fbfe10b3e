"""What constants hold, wherever it lies, and .npy files of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers.graph_maker import Maker
from icebreaker.errors import IcebreakerError
from icebreaker.formats import constants, graph_files
from icebreaker.graph import external_weights
from icebreaker.graph.graph import Graph
from icebreaker.graph.protos import GraphDef
from icebreaker.storage.weight_store import Store


def saved(node: Any, file: Path | None, folder: Path) -> np.ndarray:
    constants.save_constant(node, file, folder / "it.npy")
    return np.load(folder / "it.npy", allow_pickle=False)


def test_small_and_large_come_from_the_file_as_they_are(tmp_path: Path) -> None:
    made = Maker(1, 4)
    small, large = np.arange(6, dtype=np.int32).reshape(2, 3), made.random.standard_normal((50, 60), np.float32)
    names = made.constant(small), made.constant(large)
    path = tmp_path / "graph.pb"
    path.write_bytes(made.definition.SerializeToString())
    graph = graph_files.read_structure(path)
    for name, array in zip(names, (small, large), strict=True):
        found = saved(graph[name], path, tmp_path)
        assert found.dtype == array.dtype and np.array_equal(found, array)


def test_weights_in_a_file_of_their_own(tmp_path: Path) -> None:
    made = Maker(1, 4)
    array = made.random.standard_normal((50, 60), np.float32)
    name = made.constant(array)
    (tmp_path / "store").mkdir()
    store = Store(tmp_path / "store")
    tensor = made.definition.node[-1].attr["value"].tensor
    tensor.tensor_content = store.mark(store.keep([array.tobytes()]))
    path = tmp_path / "graph.pb"
    folder = external_weights.folder_of(path)
    folder.mkdir()
    for file in external_weights.stored(made.definition, store):
        (folder / file.name).write_bytes(file.read_bytes())
    path.write_bytes(external_weights.mapped(made.definition, store, folder.name).SerializeToString())
    graph = graph_files.read_structure(path)
    assert np.array_equal(saved(graph[name], path, tmp_path), array)
    next(folder.iterdir()).unlink()
    with pytest.raises(IcebreakerError, match="weights are missing"):
        saved(graph[name], path, tmp_path)


def constant(dtype: int, *shape: int, **fields: Any) -> Any:
    definition = GraphDef()
    node = definition.node.add(name="c", op="Const")
    tensor = node.attr["value"].tensor
    tensor.dtype = dtype
    for size in shape:
        tensor.tensor_shape.dim.add(size=size)
    for name, value in fields.items():
        if isinstance(value, bytes):
            tensor.tensor_content = value
        else:
            getattr(tensor, name).extend(value)
    return Graph(definition)["c"]


def test_one_value_for_all(tmp_path: Path) -> None:
    assert np.array_equal(
        saved(constant(1, 100, 7, float_val=[2.5]), tmp_path / "none", tmp_path), np.full((100, 7), 2.5)
    )
    assert saved(constant(3, int_val=[7]), None, tmp_path) == 7


def test_texts_and_short_floats_need_no_pickle(tmp_path: Path) -> None:
    found = saved(constant(7, 2, string_val=[b"one", "zwölf".encode()]), None, tmp_path)
    assert found.tolist() == [b"one", "zwölf".encode()]
    with pytest.raises(IcebreakerError, match="end in zeros"):
        saved(constant(7, 1, string_val=[b"one\0"]), None, tmp_path)
    halves = np.array([1.5, -2], np.float32)
    cut = (halves.view(np.uint32) >> 16).astype(np.uint16)
    found = saved(constant(14, 2, content=cut.tobytes()), None, tmp_path)
    assert found.dtype == np.float32 and np.array_equal(found, halves)


def test_what_is_gone_says_so(tmp_path: Path) -> None:
    made = Maker(1, 4)
    name = made.weight(50, 60)
    path = tmp_path / "graph.pb"
    path.write_bytes(made.definition.SerializeToString())
    node = graph_files.read_structure(path)[name]
    other = Maker(1, 4)
    other.weight(3, 3)
    path.write_bytes(other.definition.SerializeToString())
    with pytest.raises(IcebreakerError, match="not in the graph's file"):
        saved(node, path, tmp_path)
    path.unlink()
    with pytest.raises(IcebreakerError, match="not in the graph's file"):
        saved(node, path, tmp_path)
    with pytest.raises(IcebreakerError, match="is no constant"):
        constants.constant_values(Graph(made.definition)["x"])
    assert not (tmp_path / "it.npy").exists()
