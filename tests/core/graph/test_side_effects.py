"""What a graph may do is told before it runs; what no honest graph has is refused."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import icebreaker
from icebreaker import codec
from icebreaker.benchmarking import benchmark, compare
from icebreaker.conversion.pipeline import convert
from icebreaker.errors import IcebreakerError
from icebreaker.formats import graph_files
from icebreaker.graph import limits, side_effects
from icebreaker.graph.protos import GraphDef
from icebreaker.reports import Inspection
from icebreaker.runtime import artifact_reader
from icebreaker.settings import Consent, ConvertSettings
from icebreaker.storage import trusted_engines


def graph(*ops: str, **attributes: bytes) -> GraphDef:
    """A graph with one node of each op, `n0`, `n1` …, which all bear the string attributes."""
    definition = GraphDef()
    for index, op in enumerate(ops):
        node = definition.node.add(name=f"n{index}", op=op)
        for key, value in attributes.items():
            node.attr[key].s = value
    return definition


def function(definition: GraphDef, name: str, *ops: str) -> Any:
    item = definition.library.function.add()
    item.signature.name = name
    for index, op in enumerate(ops):
        item.node_def.add(name=f"inner{index}", op=op)
    return item


@pytest.mark.parametrize(
    ("op", "effect"),
    [
        ("ReadFile", "reads files"),
        ("WriteFile", "writes files"),
        ("MatchingFiles", "reads files"),
        ("SaveV2", "writes files"),
        ("RestoreV2", "reads files"),
        ("TFRecordDatasetV2", "reads files"),
        ("ExperimentalSqlDataset", "reads files"),
        ("PyFunc", "runs code"),
        ("EagerPyFunc", "runs code"),
        ("RemoteCall", "other processes"),
        ("TRTEngineOp", "engine"),
        ("DatasetFromGraph", "runs a graph"),
        ("Abort", "ends the process"),
        ("XlaCallModule", "runs a program that is embedded in the graph"),
    ],
)
def test_ops_that_act_outside_are_listed(op: str, effect: str) -> None:
    (found,) = side_effects.find_side_effects(graph("Add", op, "Identity"))
    assert (found.node, found.op, found.where) == ("n1", op, "n1") and effect in found.effect


def test_ordinary_ops_are_not() -> None:
    ordinary = ["Print", "Assert", "PartitionedCall", "HashTableV2", "TensorArrayWriteV3", "ReadVariableOp", "Conv2D"]
    assert not side_effects.find_side_effects(graph(*ordinary))
    for stream in (b"", b"stderr", b"stdout", b"log(warning)"):
        assert not side_effects.find_side_effects(graph("PrintV2", output_stream=stream))


@pytest.mark.parametrize(
    ("op", "attributes"),
    [
        ("PrintV2", {"output_stream": b"file:///tmp/x"}),
        ("DecodeProtoV2", {"descriptor_source": b"/etc/passwd"}),
        ("FixedUnigramCandidateSampler", {"vocab_file": b"/etc/passwd"}),
        ("CacheDatasetV2", {}),
    ],
)
def test_attributes_make_the_difference(op: str, attributes: dict[str, bytes]) -> None:
    assert len(side_effects.find_side_effects(graph(op, **attributes))) == 1


def test_debug_ops_name_their_urls_in_a_list() -> None:
    definition = graph("DebugIdentity")
    definition.node[0].attr["debug_urls"].list.s.append(b"file:///tmp/x")
    assert len(side_effects.find_side_effects(definition)) == 1


def test_a_dataset_cached_in_memory_is_harmless() -> None:
    definition = GraphDef()
    name = definition.node.add(name="file", op="Const")
    definition.node.add(name="cached", op="CacheDataset", input=["data", "file"])
    name.attr["value"].tensor.string_val.append(b"")
    assert not side_effects.find_side_effects(definition)
    name.attr["value"].tensor.string_val[0] = b"/tmp/x"
    assert len(side_effects.find_side_effects(definition)) == 1
    name.attr["value"].tensor.ClearField("string_val")
    name.attr["value"].tensor.tensor_content = b"\x06/tmp/x"
    assert len(side_effects.find_side_effects(definition)) == 1
    name.attr["value"].placeholder = "given"
    assert len(side_effects.find_side_effects(definition)) == 1


@pytest.mark.parametrize("way", ["attribute", "list", "op", "nested", "gradient", "interface"])
def test_functions_are_looked_into(way: str) -> None:
    definition = graph("PartitionedCall" if way != "op" else "evil")
    evil = function(definition, "evil", "Add", "WriteFile")
    match way:
        case "attribute":
            definition.node[0].attr["f"].func.name = "evil"
        case "list":
            definition.node[0].attr["branches"].list.func.add().name = "evil"
        case "nested":
            definition.node[0].attr["f"].func.name = "outer"
            function(definition, "outer", "While").node_def[0].attr["body"].func.name = "evil"
        case "gradient":
            definition.node[0].attr["f"].func.name = "outer"
            function(definition, "outer", "Add")
            definition.library.gradient.add(function_name="outer", gradient_func="evil")
        case "interface":
            evil.attr["api_implements"].s = b"lstm"
    (found,) = side_effects.find_side_effects(definition)
    assert found.where == "evil/inner1" and found.effect == "writes files"


@pytest.mark.parametrize("way", ["text", "texts", "handed on", "attribute of a function"])
def test_functions_that_are_named_nowhere_are_harmless(way: str) -> None:
    """A graph that was frozen may still carry the functions of its saver, or of the pipeline that trained it."""
    definition = graph("Add")
    function(definition, "idle", "WriteFile")
    assert not side_effects.find_side_effects(definition)
    attribute = definition.node[0].attr["_may_name_a_function"]
    match way:
        case "text":
            attribute.s = b"idle"
        case "texts":
            attribute.list.s.extend([b"", b"idle"])
        case "handed on":
            attribute.list.func.add(name="?").attr["f"].func.attr["g"].func.name = "idle"
        case "attribute of a function":
            attribute.func.name = "other"
            function(definition, "other", "Add").attr["_named"].func.name = "idle"
    (found,) = side_effects.find_side_effects(definition)
    assert found.where == "idle/inner0"


@pytest.mark.parametrize("way", ["bound", "bound_in_list", "by_op", "default"])
def test_a_function_that_is_handed_to_another_is_known_to_be_called(way: str) -> None:
    definition = graph("PartitionedCall" if way != "by_op" else "outer")
    function(definition, "save", "SaveV2")
    outer = function(definition, "outer", "PartitionedCall")
    outer.node_def[0].attr["f"].placeholder = "given"
    attributes = definition.node[0].attr
    match way:
        case "bound":
            attributes["f"].func.name = "outer"
            attributes["f"].func.attr["given"].func.name = "save"
        case "bound_in_list":
            entry = attributes["branches"].list.func.add(name="outer")
            entry.attr["given"].list.func.add(name="save")
        case "by_op":
            attributes["given"].func.name = "save"
        case "default":
            attributes["f"].func.name = "outer"
            outer.signature.attr.add(name="given", type="func").default_value.func.name = "save"
    (found,) = side_effects.find_side_effects(definition)
    assert found.where == "save/inner0"
    function(definition, "again", "PartitionedCall").node_def[0].attr["f"].func.name = "outer"
    definition.library.function[0].node_def.add(name="back", op="PartitionedCall").attr["f"].func.name = "again"
    with pytest.raises(IcebreakerError, match="calls itself"):
        limits.check_limits(definition, "model.pb")


@pytest.mark.parametrize(
    ("op", "attribute"),
    [
        ("PrintV2", "output_stream"),
        ("DecodeProtoV2", "descriptor_source"),
        ("FixedUnigramCandidateSampler", "vocab_file"),
        ("DebugIdentity", "debug_urls"),
    ],
)
def test_what_a_caller_may_bind_is_distrusted(op: str, attribute: str) -> None:
    definition = graph(op)
    definition.node[0].attr[attribute].placeholder = "given"
    assert len(side_effects.find_side_effects(definition)) == 1
    definition.node[0].attr[attribute].func.name = "f"
    assert len(side_effects.find_side_effects(definition)) == 1


def test_every_op_of_tensorflow_that_looks_as_if_it_acted_outside_was_judged() -> None:
    """A new TensorFlow brings new ops: each that takes a file, an address or a program must be judged by a person."""
    from tensorflow.core.framework.op_def_pb2 import OpList
    from tensorflow.python.client import pywrap_tf_session

    buffer: Any = pywrap_tf_session.TF_GetBuffer(pywrap_tf_session.TF_GetAllOpList())
    ops = OpList.FromString(buffer)
    name = re.compile(
        r"File|Read(?!Variable)|Write|Save|Restore|Remote|Rpc|PyFunc|TRT|CustomCall|DataService|Abort|LMDB"
    )
    argument = re.compile(
        r"file(?!_)|filename|path|url|uri|address|pattern|prefix|dir$|descriptor_source|module|graph_def"
    )
    harmless = re.compile(
        # TensorArrays and variables; states of readers and readers' results; names of files as text; regular
        # expressions and prefixes of names; links inside a TPU and its compiler, which only TPU machines have.
        r"TensorArray|^Reader|IdentityReader|^ShardedFile|Regex|StatsAggregator|CTCBeam|^Rng|DisableCopyOnRead|^_|"
        r"BarrierReadySize|Delete(Rpc|Memory)|RpcGetValue|RpcCheckStatus|TPU|WeightedFlat|ReadVariable|"
        r"^Write(Audio|Graph|Histogram|Image|RawProto|Scalar)?Summary$|DebugGradient|SnapshotDataset|"
        r"XlaSparse|ReadVariables|SummaryWriter$|TensorSliceDataset|IteratorFromStringHandle|ApproxTopK|Dataset(ToGraph|Fingerprint)"
    )
    judged = set(side_effects.EFFECTS) | set(side_effects.CONDITIONAL_EFFECTS)
    arguments = {op.name: [*(item.name for item in op.input_arg), *(item.name for item in op.attr)] for op in ops.op}
    suspects = {op for op, names in arguments.items() if name.search(op) or any(map(argument.search, names))}
    assert len(arguments) > 1500 and len(suspects) > 100
    assert not {op for op in suspects if op not in judged and not harmless.search(op)}


def test_the_inspection_tells(tmp_path: Path) -> None:
    path = tmp_path / "graph.pb"
    path.write_bytes(graph("WriteFile").SerializeToString())
    found = graph_files.inspect(path)
    assert found.to_json()["side_effects"] == (
        {"node": "n0", "op": "WriteFile", "effect": "writes files", "function": ""},
    )
    assert codec.decode(codec.encode(found), Inspection).side_effects == found.side_effects
    path.write_bytes(graph("Add").SerializeToString())
    assert "side_effects" not in graph_files.inspect(path).to_json()


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A graph that computes and writes a file, and the file."""
    import tensorflow as tf

    folder = tmp_path_factory.mktemp("writer")
    with tf.Graph().as_default() as built:
        x = tf.compat.v1.placeholder(tf.float32, (None, 4), "x")
        written = tf.raw_ops.WriteFile(filename=str(folder / "written"), contents="here I was")
        with tf.control_dependencies([written]):
            y = tf.nn.relu(tf.nn.tanh(x * 2.0) + 1.0)
        tf.identity(y, name="y")
    path = folder / "writer.pb"
    path.write_bytes(built.as_graph_def().SerializeToString())
    return path, folder / "written"


def test_nothing_runs_without_consent(writer: tuple[Path, Path], tmp_path: Path) -> None:
    path, written = writer
    settings = ConvertSettings.of(outputs=("y",), engine="onnxruntime", minimum_segment_size=1)
    for run in (
        lambda: convert(path, tmp_path / "out.pb", settings),
        lambda: benchmark.benchmark(str(path), settings=settings),
        lambda: compare.compare(str(path), str(path), settings=settings),
    ):
        with pytest.raises(side_effects.ConsentNeeded, match=r"WriteFile.*allow its side effects"):
            run()
    assert not written.exists() and not (tmp_path / "out.pb").exists()
    report = convert(path, tmp_path / "out.pb", settings, Consent(side_effects=True))
    assert written.read_text() == "here I was"
    assert any("WriteFile" in item.op for item in report.left_in_tensorflow)


def test_importing_a_graph_runs_part_of_it() -> None:
    """Why consent is asked before TensorFlow sees the graph: shapes are inferred by running what they depend on."""
    import tensorflow as tf

    with tf.Graph().as_default() as built:
        size = tf.io.decode_raw(tf.io.read_file("/nonexistent"), tf.int32)
        tf.reshape(tf.zeros([4]), size)
    assert [item.op for item in side_effects.find_side_effects(built.as_graph_def())] == ["ReadFile"]


def test_a_saved_model_that_reads_files_while_it_loads_needs_consent(tmp_path: Path) -> None:
    import tensorflow as tf

    (tmp_path / "secret").write_text("3 4")
    table = tmp_path / "secret"

    class Reader(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((None, 2), tf.float32)])
        def serve(self, x: Any) -> Any:
            return x * tf.strings.to_number(tf.io.read_file(str(table)))

    model = Reader()
    tf.saved_model.save(model, str(tmp_path / "saved"), signatures=model.serve)
    with pytest.raises(side_effects.ConsentNeeded, match="ReadFile"):
        graph_files.read_graph(tmp_path / "saved")
    found = graph_files.inspect(tmp_path / "saved", allow_side_effects=True)
    assert [item.op for item in found.side_effects] == ["ReadFile"]


def _constant(definition: GraphDef, *dims: int, dtype: int = 1) -> GraphDef:
    tensor = definition.node.add(name="big", op="Const").attr["value"].tensor
    tensor.dtype = dtype
    for dim in dims:
        tensor.tensor_shape.dim.add(size=dim)
    return definition


def _many_nodes() -> GraphDef:
    definition = GraphDef()
    for _ in range(limits.MOST_NODES // 1000 + 1):
        function(definition, f"f{_}", *["NoOp"] * 1000)
    definition.node.add(name="n", op="NoOp")
    return definition


def _deep_functions() -> GraphDef:
    definition = graph("f0")
    for number in range(limits.MOST_FUNCTION_DEPTH + 2):
        function(definition, f"f{number}", f"f{number + 1}")
    return definition


def _many_constants() -> GraphDef:
    definition = GraphDef()
    for number in range(9):
        _constant(definition, 1 << 28).node[number].name = f"c{number}"
    return definition


def _recursion() -> GraphDef:
    definition = graph("f")
    function(definition, "f", "g")
    function(definition, "g", "f")
    return definition


def _twice() -> GraphDef:
    definition = graph("f")
    function(definition, "f", "NoOp")
    function(definition, "f", "NoOp")
    return definition


def _doubling() -> GraphDef:
    """41 functions, each of which calls the next one twice: 2⁴¹ nodes."""
    definition = graph("f0")
    for number in range(41):
        function(definition, f"f{number}", *[f"f{number + 1}"] * 2)
    return definition


@pytest.mark.parametrize(
    ("definition", "words"),
    [
        (_constant(GraphDef(), 1 << 40), "constant 'big' unfolds to"),
        (_constant(GraphDef(), *[1 << 62] * 200), "constant 'big' unfolds to"),
        (_constant(GraphDef(), 2, -3), "impossible shape"),
        (_constant(GraphDef(), *[1] * 300), "impossible shape"),
        (_many_constants(), "constants that unfold to 9.7 GB"),
        (_deep_functions(), "nested more than 64 deep"),
        (_recursion(), "calls itself"),
        (_twice(), "the function 'f' is there twice"),
        (_doubling(), "with functions in the place of their calls it has more than 1,000,000 nodes"),
    ],
)
def test_what_no_graph_is_refused_in_one_line(tmp_path: Path, definition: GraphDef, words: str) -> None:
    path = tmp_path / "hostile.pb"
    path.write_bytes(definition.SerializeToString())
    with pytest.raises(IcebreakerError) as caught:
        graph_files.read_graph(path)
    assert words in str(caught.value) and str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_too_many_nodes() -> None:
    with pytest.raises(IcebreakerError, match="at most 1,000,000 are taken"):
        limits.check_limits(_many_nodes(), "model.pb")


def test_decompression_bombs(tmp_path: Path) -> None:
    path = tmp_path / "bomb.pb.gz"
    path.write_bytes(gzip.compress(bytes(100 << 20), 9))
    with pytest.raises(IcebreakerError, match="unpacks to more than 200 times its size"):
        graph_files.read_graph(path)
    path = tmp_path / "bomb.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.h5", bytes(100 << 20))
    with pytest.raises(IcebreakerError, match="unpacks to more than 200 times its size"):
        graph_files.read_graph(path)


def test_two_gigabytes_are_told_from_the_size_alone(tmp_path: Path) -> None:
    path = tmp_path / "big.pb"
    with path.open("wb") as stream:
        stream.truncate(1 << 31)  # takes no room on the disk
    with pytest.raises(IcebreakerError, match=r"2\.1 GB, but protobuf ends at 2 GB"):
        graph_files.read_graph(path)


def test_deep_text(tmp_path: Path) -> None:
    path = tmp_path / "deep.pbtxt"
    path.write_text("node { attr { value { list { " * 20_000)
    with pytest.raises(IcebreakerError, match="cannot be read as one"):
        graph_files.read_graph(path)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_keras_models_that_are_code_are_refused_before_keras_sees_them(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"model{suffix}"
    for config, words in (
        ({"class_name": "Sequential", "config": {"layers": [{"class_name": "Lambda"}]}}, "Lambda layer"),
        ({"class_name": "TFSMLayer", "module": "keras.layers"}, "has a TFSMLayer, which runs a program"),
        ({"class_name": "Thing", "module": "os.path"}, "custom object 'Thing' of the module 'os.path'"),
        ({"class_name": "Thing", "module": "keras_evil"}, "custom object"),
    ):
        if suffix == ".keras":
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("config.json", json.dumps(config))
        else:
            import h5py

            with h5py.File(path, "w") as file:
                file.attrs["model_config"] = json.dumps(config)
        with pytest.raises(IcebreakerError, match=words):
            graph_files.read_graph(path)
    path.write_bytes(b"no archive at all")
    with pytest.raises(IcebreakerError, match="is not a Keras model, or is damaged"):
        graph_files.read_graph(path)


def test_engines_load_only_where_they_were_built_or_are_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    monkeypatch.setenv("ICEBREAKER_CACHE", str(tmp_path / "cache"))
    call = tf.function(lambda x: tf.nn.relu(tf.nn.tanh(x * 2.0) + 1.0, name="y"))
    frozen = convert_variables_to_constants_v2(call.get_concrete_function(tf.TensorSpec((None, 4), tf.float32, "x")))
    source, target = tmp_path / "source.pb", tmp_path / "out.pb"
    source.write_bytes(frozen.graph.as_graph_def().SerializeToString())
    convert(source, target, ConvertSettings.of(outputs=("y",), engine="onnxruntime"))
    assert icebreaker.load(target, fallback=False).engines
    (stored,) = artifact_reader.stored_engines(graph_files.read_graph(target), tmp_path)
    built = trusted_engines.BuiltEngine(stored.engine, stored.precision, stored.sha256)
    assert trusted_engines.built_here(built)
    shutil.rmtree(tmp_path / "cache" / "engines")  # as on another machine
    with pytest.raises(IcebreakerError, match="not built by you on this machine"):
        icebreaker.load(target, fallback=False)
    with pytest.warns(icebreaker.EngineWarning, match="trust=True"):
        model = icebreaker.load(target)
    x = np.ones((1, 4), np.float32)
    assert not model.engines and model(x)["y"].shape == (1, 4)
    assert icebreaker.load(target, fallback=False, trust=True).engines
    trusted_engines.remember_engines([built])
    assert icebreaker.load(target, fallback=False).engines


def test_names_and_paths_in_any_script(tmp_path: Path) -> None:
    folder = tmp_path / "머신 러닝 ☃ folder"
    folder.mkdir()
    definition = GraphDef()
    name = "층/합성곱 ☃" * 30
    definition.node.add(name="입력", op="Placeholder").attr["dtype"].type = 1
    definition.node.add(name=name, op="Relu", input=["입력"]).attr["T"].type = 1
    path = folder / "그래프 1.pb"
    path.write_bytes(definition.SerializeToString())
    assert graph_files.inspect(path).outputs == (name,)


def test_a_hundred_thousand_nodes_are_read(tmp_path: Path) -> None:
    definition = GraphDef()
    definition.node.add(name="n0", op="Placeholder").attr["dtype"].type = 1
    for number in range(1, 100_000):
        definition.node.add(name=f"n{number}", op="Relu", input=[f"n{number - 1 if number % 200 else 0}"])
    path = tmp_path / "many.pb"
    path.write_bytes(definition.SerializeToString())
    found = graph_files.inspect(path)
    assert found.nodes == 100_000 and len(found.outputs) == 500
