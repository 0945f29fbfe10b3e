"""What a graph may do to the world, and how big it may be: read before anything of it runs.

A graph file is a program from a stranger. Owns: the list of ops that act outside the graph, the limits on size, which
engines were built here. Refuses: asking the user (the app and the command line do) and running anything: it only reads
the message.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from icebreaker import cache
from icebreaker.errors import IcebreakerError
from icebreaker.reports import SideEffect

# Limits: far above any real graph, far below what would harm the machine. docs/safety.md lists them.
MOST_NODES = 1_000_000  # functions' nodes included
MOST_FUNCTION_DEPTH = 64
MOST_RANK = 254  # TensorFlow's own limit
MOST_CONSTANT_BYTES = 1 << 31  # of one constant, as it will be in memory; a file can hold no more
MOST_CONSTANTS_BYTES = 1 << 33  # of all of them together

_ITEM_BYTES: Mapping[int, int] = {
    1: 4, 2: 8, 3: 4, 4: 1, 5: 2, 6: 1, 7: 24, 8: 8, 9: 8, 10: 1, 11: 1, 12: 1, 13: 4, 14: 2, 15: 2, 16: 2, 17: 2,
    18: 16, 19: 2, 20: 64, 21: 64, 22: 4, 23: 8,
}  # fmt: skip

_BUILT_HERE = "engines"  # notes in the cache folder
_MOST_REMEMBERED = 2000

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
    stack = [*swapped, *(name for node in nodes for name in _called(node))]
    while stack:
        name = stack.pop()
        if name in functions and name not in found:
            found[name] = None
            stack += [other for node in functions[name].node_def for other in _called(node)]
            if name in gradients:
                stack.append(gradients[name])
    return list(found)


def _called(node: Any) -> Iterator[str]:
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
        raise ConsentNeeded(effects, subject)


class ConsentNeeded(IcebreakerError):
    """A graph acts outside itself and the user has not been asked yet."""

    def __init__(self, effects: Sequence[SideEffect], subject: str = "the graph") -> None:
        """Names the first few of `effects`."""
        shown = "; ".join(f"{item.where} ({item.op}) {item.effect}" for item in effects[:3])
        more = f"; and {len(effects) - 3} more nodes" if len(effects) > 3 else ""
        super().__init__(
            f"{subject} acts outside itself: {shown}{more}: if you trust where it comes from, allow it with "
            "--allow-side-effects"
        )
        self.effects = tuple(effects)


def check_limits(definition: Any, source: str) -> None:
    """Refuses a GraphDef that is no graph anybody made, before memory or time is spent on it.

    Args:
        definition: A GraphDef message.
        source: What to name in the error, such as the file.

    Raises:
        IcebreakerError: A limit of this module is passed, or a constant has a shape that cannot be.
    """
    functions = {item.signature.name: item for item in definition.library.function}
    count = len(definition.node) + sum(len(item.node_def) for item in functions.values())
    if count > MOST_NODES:
        raise IcebreakerError(
            f"{source} has {count:,} nodes, but at most {MOST_NODES:,} are taken: export a part of it"
        )
    total = _constant_bytes(definition.node, source)
    for item in functions.values():
        total += _constant_bytes(item.node_def, source)
    if total > MOST_CONSTANTS_BYTES:
        raise IcebreakerError(
            f"{source} has constants that unfold to {total / 1e9:.1f} GB, but at most "
            f"{MOST_CONSTANTS_BYTES / 1e9:.1f} GB are taken: it is damaged, or was made to fill the memory"
        )
    if functions:
        _check_depth(functions, source)


def _constant_bytes(nodes: Sequence[Any], source: str) -> int:
    total = 0
    for node in nodes:
        if node.op not in ("Const", "HostConst"):
            continue
        tensor = node.attr["value"].tensor
        dims = tensor.tensor_shape.dim
        size = _ITEM_BYTES.get(tensor.dtype, 1)
        for dim in dims:
            size *= dim.size
        if len(dims) > MOST_RANK or any(dim.size < 0 for dim in dims):
            raise IcebreakerError(
                f"{source}: the constant {node.name!r} has an impossible shape: the file is damaged, export it again"
            )
        if size > MOST_CONSTANT_BYTES:
            raise IcebreakerError(
                f"{source}: the constant {node.name!r} unfolds to more than {MOST_CONSTANT_BYTES / 1e9:.1f} GB: it is "
                "damaged, or was made to fill the memory"
            )
        total += size
    return total


def _check_depth(functions: Mapping[str, Any], source: str) -> None:
    """Functions that call themselves or nest too deeply would overflow TensorFlow's stack."""
    calls = {
        name: sorted({other for node in item.node_def for other in _called(node) if other in functions})
        for name, item in functions.items()
    }
    depth: dict[str, int] = {}
    for start in calls:
        stack: list[tuple[str, Iterator[str]]] = [] if start in depth else [(start, iter(calls[start]))]
        open_ones = {start}
        while stack:
            name, rest = stack[-1]
            other = next(rest, None)
            if other is None:
                stack.pop()
                open_ones.discard(name)
                depth[name] = 1 + max((depth[item] for item in calls[name]), default=0)
                if depth[name] > MOST_FUNCTION_DEPTH:
                    raise IcebreakerError(
                        f"{source}: functions are nested more than {MOST_FUNCTION_DEPTH} deep, such as {start!r}: "
                        "export the graph with its functions inlined"
                    )
            elif other in open_ones:
                raise IcebreakerError(
                    f"{source}: the function {other!r} calls itself, which cannot be frozen: export it again"
                )
            elif other not in depth:
                open_ones.add(other)
                stack.append((other, iter(calls[other])))


def remember_engines(digests: Iterable[str]) -> None:
    """Notes in the user's cache folder that the engines with these SHA-256 were built here: the latest 2,000."""
    for digest in digests:
        cache.write_note(_BUILT_HERE, digest, {})
    cache.keep_latest(_BUILT_HERE, _MOST_REMEMBERED)


def built_here(digest: str) -> bool:
    """True if this user built the engine with this SHA-256 on this machine."""
    return digest.isascii() and digest.isalnum() and cache.read_note(_BUILT_HERE, digest) is not None
