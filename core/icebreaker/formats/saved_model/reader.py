"""SavedModel folders, frozen on the way in, without TensorFlow's loader, which would run what is in them.

Needs TensorFlow for its messages and its checkpoints, so it runs in the worker.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from icebreaker.errors import IcebreakerError
from icebreaker.formats.saved_model.effects import saved_model_effects
from icebreaker.formats.saved_model.freezing import Source, freeze_signature, state_of
from icebreaker.formats.saved_model.lookup_tables import FILLERS_FROM_FILE
from icebreaker.formats.saved_model.optimized import optimized_signature, optimized_signatures
from icebreaker.formats.saved_model.signatures import DEFAULT_SIGNATURE, Frozen
from icebreaker.formats.saved_model.traced_calls import add_call
from icebreaker.graph import limits, side_effects
from icebreaker.storage.files import check_file, exists
from icebreaker.storage.weight_store import Store

_NAMES = ("saved_model.pb", "saved_model.pbtxt")
BIG_WEIGHT_BYTES = 256 << 10  # of a weight that is worth a file
_MOST_FILE_BYTES = (1 << 31) - 1  # that protobuf reads
_MOST_TEXT_BYTES = 1 << 28


NEEDS_TENSORFLOW = True
PATTERNS = _NAMES


def matches(path: Path) -> bool:
    """A saved_model.pb or .pbtxt, or a folder that has it, itself or in that of a version (`1/saved_model.pb`)."""
    return path.name in _NAMES or _file_of(path) is not None


def read(path: Path, allow_side_effects: bool = False, signature: str = "") -> Any:
    """Freezes a signature: the named one, `serving_default`, or the first by name.

    Raises:
        IcebreakerError: It cannot be read or frozen; ConsentNeeded: something in it acts outside the graph.
    """
    return read_frozen(path, allow_side_effects, signature)[0]


def read_apart(path: Path, store: Store, big: int, allow_side_effects: bool = False) -> Any | None:
    """Freezes a SavedModel whose variables have at least `big` bytes; big weights go to `store`, one by one.

    None: it is smaller, its variables are handed to functions, or the disk is full: then it takes `read`.
    """
    found = read_frozen_apart(path, store, big, allow_side_effects)
    return None if found is None else found[0]


def read_frozen(path: Path, allow_side_effects: bool = False, signature: str = "") -> tuple[Any, Frozen]:
    """Like `read`; also tells what was taken, and what else there is.

    Raises:
        IcebreakerError: As `read`.
    """
    found = _frozen(path, allow_side_effects, signature, None)
    assert found is not None  # noqa: S101 - only with a store it can be
    return found


def read_frozen_apart(
    path: Path, store: Store, big: int, allow_side_effects: bool = False, signature: str = ""
) -> tuple[Any, Frozen] | None:
    """Like `read_apart`; also tells what was taken, and what else there is."""
    file = _file_of(path)
    variables = [] if file is None else file.parent.glob("variables/variables.data-*")
    if sum(item.stat().st_size for item in variables) < big:
        return None
    try:
        return _frozen(path, allow_side_effects, signature, store)
    except OSError:
        return None


def signature_names(path: Path, allow_side_effects: bool = False) -> tuple[str, ...]:
    """The signatures that can be asked for, the one that is taken without asking first.

    Raises:
        IcebreakerError: As `read`.
    """
    meta = read_source(path, allow_side_effects).meta
    return tuple(_names(meta))


def _frozen(path: Path, allow_side_effects: bool, signature: str, store: Store | None) -> tuple[Any, Frozen] | None:
    source = read_source(path, allow_side_effects)
    try:
        return _frozen_signature(source, signature, store)
    except (IcebreakerError, OSError):
        raise
    except Exception as error:  # what a stranger's message may lack or have too much of, nobody can list
        raise IcebreakerError(
            "not_freezable", "{subject} could not be frozen: {reason}",
            subject=source.folder, reason=f"{type(error).__name__}: {error}",
        ) from error  # fmt: skip


def _frozen_signature(source: Source, signature: str, store: Store | None) -> tuple[Any, Frozen] | None:
    folder, names = str(source.folder), _names(source.meta)
    if not names:
        raise IcebreakerError("no_signature", "{subject} has no signature", "save_with_signatures", subject=folder)
    if signature and signature not in names:
        raise IcebreakerError(
            "signature_unknown", "{file} has no signature {subject!r}", "choose_from",
            subject=signature, file=folder, choices=tuple(names),
        )  # fmt: skip
    others = tuple(sorted(other for other in names if other != (signature or names[0])))
    files = {file.name: str(file) for file in source.assets.values()}
    tags = tuple(source.meta.meta_info_def.tags)
    if optimized := optimized_signature(source.meta, signature or names[0]):
        return optimized[0], Frozen(folder, tags, optimized[1], others, (), files)
    guessed = not signature and names[0] != DEFAULT_SIGNATURE
    if guessed and (state := state_of(source, names[0], names[1:])):
        raise IcebreakerError(
            "signature_changes_state",
            "{file} keeps state in {subject!r}, which its signature {other!r} changes", "choose_signature",
            subject=state[0], file=folder, other=state[1],
        )  # fmt: skip
    name = signature or names[0]
    found = freeze_signature(source, name, store)
    if found is None:
        return None
    definition, taken, tables = found
    return definition, Frozen(folder, tags, taken, others, tables, files)


def folder_of(path: Path) -> Path:
    """The folder that the files of a SavedModel lie in: `path`, or that of a version in it."""
    file = _file_of(path)
    return path if file is None else file.parent


def _names(meta: Any) -> list[str]:
    """The signatures that give something, the one to take first; those with `__` are TensorFlow's own.

    In what a conversion wrote, that is the one that was converted.
    """
    optimized = optimized_signatures(meta)
    names = [
        name for name, item in meta.signature_def.items()
        if item.outputs and (not name.startswith("__") or name == "__call__")
    ]  # fmt: skip
    return sorted(names, key=lambda name: (name not in optimized, name != DEFAULT_SIGNATURE, name))


def _file_of(path: Path) -> Path | None:
    """The message's file: in the folder itself, or in that of the highest version, as TensorFlow Serving chooses."""
    if path.name in _NAMES:
        return path
    if not path.is_dir() or not os.access(path, os.R_OK | os.X_OK):
        return None
    versions = sorted(
        (item for item in path.iterdir() if item.name.isdecimal()), key=lambda item: int(item.name), reverse=True
    )
    return next((file for folder in (path, *versions) for name in _NAMES if (file := folder / name).is_file()), None)


def read_source(path: Path, allow_side_effects: bool) -> Source:
    """Reads and judges a SavedModel.

    Raises:
        IcebreakerError: It is no SavedModel, or passes a limit; ConsentNeeded: it acts outside itself.
    """
    file = _file_of(path)
    assert file is not None  # noqa: S101 - `matches` has seen it
    folder = file.parent
    model = _message(file)
    for meta in model.meta_graphs:
        limits.check_limits(meta.graph_def, str(folder))
        # What fills a table from a file does not run: its file, if it is the model's own, is read instead.
        found = [item for item in saved_model_effects(meta) if item.op not in FILLERS_FROM_FILE]
        side_effects.require_consent(found, allow_side_effects, str(folder))
    metas: Sequence[Any] = sorted(
        model.meta_graphs, key=lambda meta: ("serve" not in meta.meta_info_def.tags, len(meta.meta_info_def.tags))
    )
    if not metas:
        raise IcebreakerError("no_signature", "{subject} has no signature", "save_with_signatures", subject=folder)
    meta = metas[0]
    apart = {} if _names(meta) else add_call(meta, folder)
    return Source(folder, meta, _assets(meta, folder), BIG_WEIGHT_BYTES, apart)


def _message(file: Path) -> Any:
    """The SavedModel message.

    Raises:
        IcebreakerError: It is none, or something in its folder is no file.
    """
    from google.protobuf import text_format
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    try:
        _check_files(file)
        data = file.read_bytes()
        if file.suffix == ".pbtxt":
            return text_format.Parse(data.decode("utf-8"), SavedModel())
        return SavedModel.FromString(data)
    except OSError as error:
        raise IcebreakerError(
            "file_not_read", "{subject} could not be read: {reason}", subject=file, reason=error.strerror or str(error)
        ) from error
    except (DecodeError, text_format.ParseError, UnicodeDecodeError, RecursionError) as error:
        raise IcebreakerError(
            "saved_model_damaged", "{subject} is no SavedModel, or is damaged or cut short", "copy_again", subject=file
        ) from error


def _assets(meta: Any, folder: Path) -> Mapping[str, Path]:
    """Node that gives a file's name → the file, for those that lie in the folder of assets."""
    from tensorflow.core.protobuf.meta_graph_pb2 import AssetFileDef

    entries = list(meta.asset_file_def)
    for data in meta.collection_def["saved_model_assets"].any_list.value if not entries else ():
        entry = AssetFileDef()
        if data.Unpack(entry):
            entries.append(entry)
    found = {}
    for entry in entries:
        name = entry.filename.removeprefix("assets/")
        if name and "/" not in name and name not in (".", ".."):
            found[entry.tensor_info.name.split(":")[0]] = folder / "assets" / name
    return found


def _check_files(file: Path) -> None:
    """Refuses a SavedModel with a file that does not end, or that waits for somebody to write: a device, a pipe.

    Raises:
        IcebreakerError: There is one among what TensorFlow may read, or the message is too big.
        OSError: A folder cannot be read.
    """
    folder = file.parent
    parts = [folder / "variables", folder / "assets", folder / "debug"]
    inside = (path for part in parts for path in part.rglob("*"))
    for path in (file, folder / "fingerprint.pb", *inside):
        if exists(path) and not (path.is_file() or path.is_dir()):
            raise IcebreakerError("not_a_file", "{subject} is no file", "copy_again", subject=path)
    if file.suffix == ".pbtxt":
        check_file(file, _MOST_TEXT_BYTES)
    size = file.stat().st_size
    if size > _MOST_FILE_BYTES:
        raise IcebreakerError(
            "saved_model_too_big", "{subject} has {gigabytes:.1f} GB, but protobuf ends at 2 GB", "not_what_it_seems",
            subject=file, gigabytes=size / 1e9,
        )  # fmt: skip
