"""What a graph may do to the world when it runs: files, other processes, code. Read before anything of it runs.

A graph file is a program from a stranger. Owns: the list of ops that act outside the graph. Refuses: asking the user
(the app and the command line do) and running anything: it only reads the message.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from icebreaker.errors import ConsentNeeded
from icebreaker.graph.functions import reachable_functions
from icebreaker.messages import message
from icebreaker.reports import SideEffect

_READS, _WRITES = "reads files", "writes files"
_NETWORK, _CODE, _ENDS = "talks to other processes", "runs code that is not in the graph", "ends the process"
_ENGINE, _GRAPH = "runs an engine that is embedded in the graph", "runs a graph that comes as data"
_PROGRAM = "runs a program that is embedded in the graph"

# Op → what it does outside the graph. Made by going through all ops that TensorFlow 2.21 registers; the tests go
# through them again, so that a new one cannot be overlooked. Print, Assert and the like are harmless.
EFFECTS: Mapping[str, str] = {
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
            TPUExecuteAndUpdateVariables IcebreakerEngine
            """,
        _GRAPH: "DatasetFromGraph",
        _PROGRAM: """
            XlaCallModule TPUCompile _TPUCompileMlir _XlaCompileMlirPlaceholderProgramKey _XlaHostComputeMlir IfrtCall
            AsyncIfrtCall IfrtLoadVariable
            """,
        _ENDS: "Abort",
    }.items()
    for name in ops.split()
    for op in (name, f"Experimental{name}")
}  # fmt: skip
# What savers are made of.
SAVERS_OPS = frozenset({"SaveV2", "RestoreV2", "MergeV2Checkpoints"})


def _attribute(name: str, harmless: Sequence[bytes], effect: str) -> Callable[[Any, Mapping[str, Any]], str]:
    """Judges an op that acts outside only if an attribute is given and begins with nothing `harmless`.

    A `placeholder` may become anything, and what is not of its kind is no text that anybody has judged.
    """

    def judge(node: Any, scope: Mapping[str, Any]) -> str:
        if name not in node.attr:
            return ""
        value = node.attr[name]
        given = {"s": [value.s], "list": value.list.s}.get(value.WhichOneof("value") or "s", [b"?"])
        return effect if any(item and not item.startswith(tuple(harmless)) for item in given) else ""

    return judge


def _cached(node: Any, scope: Mapping[str, Any]) -> str:
    """Judges a dataset's cache: it is in memory if the file's name is an empty text, written down as such."""
    source = scope.get(node.input[1].split(":")[0]) if len(node.input) > 1 else None
    if source is not None and source.op == "Const" and source.attr["value"].WhichOneof("value") == "tensor":
        tensor = source.attr["value"].tensor
        if not any(tensor.string_val) and not tensor.tensor_content:
            return ""
    return _WRITES


# Ops that act outside in some cases only. Op → gives what it does outside, or nothing, of a NodeDef and of the nodes in
# its graph or function by name.
CONDITIONAL_EFFECTS: Mapping[str, Callable[[Any, Mapping[str, Any]], str]] = {
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


def find_side_effects(definition: Any) -> tuple[SideEffect, ...]:
    """The nodes of a frozen graph that act outside it, in the graph and in the functions that it names in any way.

    A function that is named nowhere cannot be called: freezing leaves such functions, of savers and of input pipelines.

    Args:
        definition: A GraphDef message.

    Returns:
        One entry per node: the graph's own in its order, then those of its functions.
    """
    called = {"", *reachable_functions(definition.node, definition.library)}
    return tuple(item for item in all_side_effects(definition) if item.function in called)


def all_side_effects(definition: Any) -> Iterator[SideEffect]:
    """Like `find_side_effects`, with all functions: those of a SavedModel are named elsewhere, too."""
    yield from _effects("", definition.node)
    for function in definition.library.function:
        yield from _effects(function.signature.name, function.node_def)


def _effects(function: str, nodes: Sequence[Any]) -> Iterator[SideEffect]:
    scope: dict[str, Any] = {}
    for node in nodes:
        op = node.op
        effect = EFFECTS.get(op, "")
        if not effect and op in CONDITIONAL_EFFECTS:
            scope = scope or {other.name: other for other in nodes}
            effect = CONDITIONAL_EFFECTS[op](node, scope)
        if effect:
            yield SideEffect(node.name, op, effect, function)


def require_consent(effects: Sequence[SideEffect], allowed: bool, subject: str = "the graph") -> None:
    """Stops before something runs a graph that acts outside itself without the user's consent.

    Args:
        effects: What `find_side_effects` found.
        allowed: Whether the user has consented.
        subject: What acts, for the error: a file, a folder.

    Raises:
        ConsentNeeded: There are effects, and the user has not consented.
    """
    if effects and not allowed:
        shown = (
            message(
                "side_effect", "{subject} ({op}) {effect}", subject=effect.where, op=effect.op, effect=effect.effect
            )
            for effect in effects
        )
        raise ConsentNeeded(
            "consent_needed", _CONSENT_NEEDED[min(len(effects), len(_CONSENT_NEEDED)) - 1], "allow_side_effects",
            subject=subject, more=len(effects) - 3, **dict(zip(ConsentNeeded.NAMED, shown, strict=False)),
        )  # fmt: skip


# By the number of effects.
_CONSENT_NEEDED = (
    "{subject} acts outside itself: {first}",
    "{subject} acts outside itself: {first}; {second}",
    "{subject} acts outside itself: {first}; {second}; {third}",
    "{subject} acts outside itself: {first}; {second}; {third}; and {more} more nodes",
)
