"""ONNX models whose big weights lie in files beside them (ONNX's external data)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from icebreaker.errors import IcebreakerError
from icebreaker.graph import external_weights
from icebreaker.storage.files import Pieces, field


def whole(file: Path) -> Pieces:
    """A model whose weights lie beside it, as one with its weights inside."""
    import onnx

    slim = onnx.load(str(file), load_external_data=False)
    inside = [item for item in slim.graph.initializer if not item.external_data]
    apart = [item for item in slim.graph.initializer if item.external_data]
    del slim.graph.initializer[:]
    slim.graph.initializer.extend(inside)
    # Messages that follow one another are one: what is repeated is appended.
    pieces: list[bytes | Path] = [slim.SerializeToString()]
    for item in apart:
        location = next(entry.value for entry in item.external_data if entry.key == "location")
        item.ClearField("external_data")
        item.ClearField("data_location")
        pieces += field(7, field(5, [item.SerializeToString(), *field(9, [file.with_name(location)])]))
    return pieces


def with_files_in(file: Path, folder: str) -> tuple[bytes, set[str]]:
    """A model whose weights lie beside it, as it finds them in a folder beside it; and their names."""
    import onnx

    model = onnx.load(str(file), load_external_data=False)
    names = set()
    for entry in _locations(model):
        names.add(entry.value)
        entry.value = f"{folder}/{entry.value}"
    return model.SerializeToString(deterministic=True), names


def check_files(file: Path) -> None:
    """Sees to it that a model reads nothing but weights that lie beside it.

    Raises:
        IcebreakerError: As `beside.file_at`; or it is no ONNX model.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(str(file), load_external_data=False)
    except (OSError, DecodeError) as error:
        raise IcebreakerError(
            "onnx_file_damaged", "{subject} is no ONNX model, or is damaged", "convert_again", subject=file
        ) from error
    for place in {entry.value for entry in _locations(model)}:
        external_weights.file_at(file.parent, place)


def _locations(message: Any) -> Iterator[Any]:
    """The entries in an ONNX message that name a file, wherever they are."""
    for kind, value in message.ListFields():
        for item in (value if kind.is_repeated else (value,)) if kind.message_type else ():
            if item.DESCRIPTOR.name != "TensorProto":
                yield from _locations(item)
            else:
                yield from (entry for entry in item.external_data if entry.key == "location")
