"""Tables and vocabularies work in what was frozen, without a step that fills them; nothing is run for that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from icebreaker.errors import IcebreakerError
from icebreaker.formats import graph_files
from icebreaker.formats.saved_model.lookup_tables import spare_initializers, wait_for_tables
from icebreaker.graph.graph import Graph
from icebreaker.tensors import Tensor
from icebreaker.tf.rewrite import prune
from icebreaker.tf.session import GraphSession

WORDS = np.array([b"cat", b"the", b"dog"], object)


def _save(folder: Path, table: Any) -> None:
    """A SavedModel that looks words up."""
    import tensorflow as tf

    class Model(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = table()

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="word")])
        def serve(self, word: Any) -> Any:
            return {"id": self.table.lookup(word), "size": self.table.size()}

    model = Model()
    if hasattr(model.table, "insert"):
        model.table.insert(tf.constant([b"the", b"cat"]), tf.constant([0, 1], tf.int64))
    tf.saved_model.save(model, str(folder), model.serve)


def _tables(folder: Path) -> dict[str, Any]:
    import tensorflow as tf

    lookup = tf.lookup
    file = folder / "words.txt"
    file.write_text("the\ncat\r\nsat\n")
    columns = folder / "columns.txt"
    columns.write_text("0|the\n1|cat\n")
    values = tf.constant([0, 1], tf.int64)
    index = lookup.TextFileIndex
    return {
        "constants": lambda: lookup.StaticHashTable(lookup.KeyValueTensorInitializer([b"the", b"cat"], values), -1),
        "asset": lambda: lookup.StaticHashTable(
            lookup.TextFileInitializer(str(file), tf.string, index.WHOLE_LINE, tf.int64, index.LINE_NUMBER), -1
        ),
        "columns": lambda: lookup.StaticHashTable(
            lookup.TextFileInitializer(str(columns), tf.string, 1, tf.int64, 0, delimiter="|"), -1
        ),
        "changing": lambda: lookup.experimental.MutableHashTable(tf.string, tf.int64, -1),
    }


@pytest.mark.parametrize("kind", ["constants", "asset", "columns", "changing"])
def test_a_table_is_filled_in_the_frozen_graph(kind: str, tmp_path: Path) -> None:
    _save(tmp_path / "model", _tables(tmp_path)[kind])
    for file in tmp_path.glob("*.txt"):
        file.unlink()  # the model has its own
    graph, frozen = graph_files.read_model(tmp_path / "model")
    assert frozen is not None
    (table,) = frozen.tables
    assert table.size == len(["the", "cat", "sat"]) if kind == "asset" else 2
    assert not graph_files.describe(graph).side_effects
    found, size = GraphSession(graph.definition).run([Tensor("id"), Tensor("size")], {"word": WORDS})
    assert found.tolist() == [1, 0, -1] and size == table.size


def test_two_models_with_tables_of_one_name_do_not_share_them(tmp_path: Path) -> None:
    import tensorflow as tf

    names = set()
    for number in (0, 1):
        values = tf.constant([number, 5], tf.int64)
        initializer = tf.lookup.KeyValueTensorInitializer([b"the", b"cat"], values)
        _save(tmp_path / str(number), lambda init=initializer: tf.lookup.StaticHashTable(init, -1, name="same"))
        graph = graph_files.read_graph(tmp_path / str(number) / "saved_model.pb")
        names.update(node.attrs["shared_name"] for node in graph if node.op == "HashTableV2")
    assert len(names) == 2


def test_a_table_that_changes_as_it_is_used_is_refused(tmp_path: Path) -> None:
    import tensorflow as tf

    class Model(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, -1)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="word")])
        def serve(self, word: Any) -> Any:
            self.table.insert(word, tf.ones_like(word, tf.int64))
            return {"id": self.table.lookup(word)}

    model = Model()
    tf.saved_model.save(model, str(tmp_path / "model"), model.serve)
    with pytest.raises(IcebreakerError, match="keeps state that cannot be frozen"):
        graph_files.read_graph(tmp_path / "model")


def _frozen_v1(old: bool = False) -> Any:
    """A frozen graph of TensorFlow 1 with `init_all_tables`; an old one passes tables on as references to texts."""
    import tensorflow as tf

    v1, raw = tf.compat.v1, tf.raw_ops
    with tf.Graph().as_default() as graph:
        word = v1.placeholder(tf.string, [None], "word")
        keys, values = tf.constant([b"the", b"cat"]), tf.constant([0, 1], tf.int64)
        if old:
            table = raw.HashTable(key_dtype=tf.string, value_dtype=tf.int64)
            filled = raw.InitializeTable(table_handle=table, keys=keys, values=values)
            found = raw.LookupTableFind(table_handle=table, keys=word, default_value=tf.constant(-1, tf.int64))
            tf.group(filled, name="init_all_tables")
        else:
            found = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, values), -1).lookup(word)
            v1.tables_initializer(name="init_all_tables")
        tf.identity(found, "id")
    return graph.as_graph_def()


@pytest.mark.parametrize("old", [False, True])
def test_a_graph_of_tensorflow_1_needs_no_initializer_and_keeps_it(old: bool, tmp_path: Path) -> None:
    path = tmp_path / "graph.pb"
    path.write_bytes(_frozen_v1(old).SerializeToString())
    graph = graph_files.read_graph(path)
    assert wait_for_tables(graph) is graph
    (kept,) = spare_initializers(graph, prune(graph, [Tensor("id")]))  # what fills it is needed by its reader
    assert kept.name == "init_all_tables"
    assert graph.candidate_outputs == ("id",)
    session = GraphSession(graph.definition)
    for _ in range(2):
        (found,) = session.run([Tensor("id")], {"word": WORDS})
        assert found.tolist() == [1, 0, -1]


def test_a_table_that_is_filled_from_what_is_fed_is_left_alone() -> None:
    graph = Graph(_frozen_v1())
    definition = type(graph.definition)()
    definition.CopyFrom(graph.definition)
    for node in definition.node:
        if node.op == "LookupTableImportV2":
            fed = definition.node.add(name="fed", op="Placeholder")
            fed.attr["dtype"].type = 9
            node.input[2] = "fed"
    graph = Graph(definition)
    assert wait_for_tables(graph) is graph
