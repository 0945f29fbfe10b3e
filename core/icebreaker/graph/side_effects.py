"""What a graph may do to the world when it runs: files, other processes, code. Read before anything of it runs.

A graph file is a program from a stranger. Owns: the list of ops that act outside the graph. Refuses: asking the user
(the app and the command line do) and running anything: it only reads the message.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from icebreaker.errors import ConsentNeeded
from icebreaker.reports.reports import SideEffect

_READS, _WRITES = "reads files", "writes files"
_NETWORK, _CODE, _ENDS = "talks to other processes", "runs code that is not in the graph", "ends the process"
_ENGINE, _GRAPH = "runs an engine that is embedded in the graph", "runs a graph that comes as data"

# Op → what it does. Made by going through all ops that TensorFlow 2.21 registers; tests/core/test_safety.py goes
# through them again, so that a new one cannot be overlooked. Print, Assert and the like are harmless.
_EFFECTS: Mapping[str, str] = {
    op: effect
    for effect, ops in {
        _READS: """
            ReadFile MatchingFiles MatchingFilesDataset WholeFileReader WholeFileReaderV2 TextLineReader
            TextLineReaderV2 TFRecordReader TFRecordReaderV2 FixedLengthRecordReader FixedLengthRecordReaderV2
            LMDBReader RecordInput TextLineDataset TFRecordDataset TFRecordDatasetV2 FixedLengthRecordDataset
            FixedLengthRecordDatasetV2 CSVDataset CSVDatasetV2 SqlDataset LMDBDataset LoadDataset
            ListSnapshotChunksDataset SnapshotDatasetReader SnapshotNestedDatasetReader SnapshotChunkDataset
            InitializeTableFromTextFile InitializeTableFromTextFileV2 LoadAndRemapMatrix GenerateVocabRemapping
            Restore RestoreSlice RestoreV2 DTensorRestoreV2 ImmutableConst Skipgram FileSystemSetConfiguration
            """,
        _WRITES: """
            WriteFile Save SaveSlices SaveV2 MergeV2Checkpoints SaveDataset SaveDatasetV2 SnapshotDataset
            SnapshotDatasetV2 DatasetToTFRecord DistributedSave CreateSummaryFileWriter CreateSummaryDbWriter
            CalibrationStatisticsSaver DumpTensor
            """,
        _NETWORK: """
            RemoteCall RemoteFusedGraphExecute Rpc TryRpc RpcServer RpcServerStart RpcServerRegister RpcClient RpcCall
            DataServiceDataset DataServiceDatasetV2 DataServiceDatasetV3 DataServiceDatasetV4 RegisterDataset
            RegisterDatasetV2 ConfigureDistributedTPU ShutdownDistributedTPU ConfigureAndInitializeGlobalTPU
            BigQueryReader BigtableClient KafkaDataset
            """,
        _CODE: """
            PyFunc PyFuncStateless EagerPyFunc XlaCustomCall XlaCustomCallV2 MlirPassthroughOp
            TfLiteSubgraphExecute NeuronOp
            """,
        _ENGINE: """
            TRTEngineOp CreateTRTResourceHandle InitializeTRTResource GetCalibrationDataOp TPUExecute
            TPUExecuteAndUpdateVariables
            """,
        _GRAPH: "DatasetFromGraph",
        _ENDS: "Abort",
    }.items()
    for name in ops.split()
    for op in (name, f"Experimental{name}")
}  # fmt: skip
# Checkpoint ops are in every SavedModel, in functions that are not called when it is loaded.
CHECKPOINT_OPS = frozenset({"SaveV2", "RestoreV2", "MergeV2Checkpoints"})


def _attribute(name: str, harmless: Sequence[bytes], effect: str) -> Callable[[Any, Mapping[str, Any]], str]:
    """An op that acts outside only if an attribute says so."""

    def judge(node: Any, scope: Mapping[str, Any]) -> str:
        value = node.attr.get(name)
        given = [] if value is None else [value.s, *value.list.s]
        return effect if any(item and not item.startswith(tuple(harmless)) for item in given) else ""

    return judge


def _cached(node: Any, scope: Mapping[str, Any]) -> str:
    """A dataset is cached in memory if the file's name is empty."""
    source = scope.get(node.input[1].split(":")[0]) if len(node.input) > 1 else None
    if source is not None and source.op == "Const" and not any(source.attr["value"].tensor.string_val):
        return ""
    return _WRITES


# Ops that act outside in some cases only.
_CASES: Mapping[str, Callable[[Any, Mapping[str, Any]], str]] = {
    "PrintV2": _attribute("output_stream", (b"stdout", b"stderr", b"log("), _WRITES),
    "DecodeProtoV2": _attribute("descriptor_source", (b"local://", b"bytes://"), _READS),
    "EncodeProto": _attribute("descriptor_source", (b"local://", b"bytes://"), _READS),
    "FixedUnigramCandidateSampler": _attribute("vocab_file", (), _READS),
    "CacheDataset": _cached,
    "CacheDatasetV2": _cached,
    **{
        op: _attribute("debug_urls", (), _WRITES)
        for op in ("DebugIdentity", "DebugIdentityV2", "DebugIdentityV3", "DebugNanCount", "DebugNumericSummary")
    },
}


def side_effects(
    definition: Any, names: Iterable[str] | None = None, ignored: frozenset[str] = frozenset()
) -> tuple[SideEffect, ...]:
    """The nodes that act outside the graph, in the graph and in the functions that it can call.

    Args:
        definition: A GraphDef message.
        names: Nodes that will run, such as what the outputs need; None: all.
        ignored: Ops that are known to be harmless where the graph comes from.
    """
    wanted = None if names is None else set(names)
    nodes = [node for node in definition.node if wanted is None or node.name in wanted]
    functions = {item.signature.name: item for item in definition.library.function}
    found = list(_effects("", nodes, ignored))
    for name in reachable_functions(nodes, definition.library):
        found += _effects(name, functions[name].node_def, ignored)
    return tuple(found)


def _effects(function: str, nodes: Sequence[Any], ignored: frozenset[str]) -> Iterator[SideEffect]:
    scope: dict[str, Any] = {}
    for node in nodes:
        op = node.op
        if op in ignored:
            continue
        effect = _EFFECTS.get(op, "")
        if not effect and op in _CASES:
            scope = scope or {item.name: item for item in nodes}
            effect = _CASES[op](node, scope)
        if effect:
            yield SideEffect(node.name, op, effect, function)


def reachable_functions(nodes: Sequence[Any], library: Any) -> list[str]:
    """Names of the functions that nodes of a graph can reach, each once."""
    functions = {item.signature.name: item for item in library.function}
    if not functions:
        return []
    gradients = {item.function_name: item.gradient_func for item in library.gradient}
    # Grappler may swap one function for another that implements the same interface.
    swapped = [name for name, item in functions.items() if "api_implements" in item.attr]
    found: dict[str, None] = {}
    stack = [*swapped, *(name for node in nodes for name in called_functions(node))]
    while stack:
        name = stack.pop()
        if name in functions and name not in found:
            found[name] = None
            stack += [other for node in functions[name].node_def for other in called_functions(node)]
            if name in gradients:
                stack.append(gradients[name])
    return list(found)


def called_functions(node: Any) -> Iterator[str]:
    """Names of the functions that a node calls or is handed; its op is among them, as a function may bear that name."""
    yield node.op  # a function's name may stand where an op's does
    for value in node.attr.values():
        kind = value.WhichOneof("value")
        if kind == "func":
            yield value.func.name
        elif kind == "list":
            for function in value.list.func:
                yield function.name


def require_consent(effects: Sequence[SideEffect], allowed: bool, subject: str = "the graph") -> None:
    """Stops what would run a graph that acts outside itself.

    Raises:
        ConsentNeeded: It does, and the user has not allowed it.
    """
    if effects and not allowed:
        shown = "; ".join(f"{item.where} ({item.op}) {item.effect}" for item in effects[:3])
        more = f"; and {len(effects) - 3} more nodes" if len(effects) > 3 else ""
        raise ConsentNeeded(
            "consent_needed", "{subject} acts outside itself: {effects}", "allow_side_effects",
            subject=subject, effects=shown + more,
        )  # fmt: skip
