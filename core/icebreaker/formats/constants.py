"""The values of constants, from the node or from the file that it was read without them; and as files of NumPy's."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from icebreaker.errors import IcebreakerError
from icebreaker.formats import structure
from icebreaker.graph import external_weights
from icebreaker.graph.graph import Node, TensorValue, tensor_value
from icebreaker.graph.protos import TensorProto
from icebreaker.storage.files import Pieces, write_together


class Constants:
    """The values of many constants of a graph; its file is searched once, not for each of them."""

    def __init__(self, file: Path | None = None) -> None:
        """`file` has the values that the graph was read without."""
        self._file = file
        self._places: Mapping[str, tuple[int, int]] | None = None

    def values(self, node: Node) -> np.ndarray:
        """As `constant_values`.

        Raises:
            IcebreakerError: As there.
        """
        return _array(node, _content(node, self._file, self._whole))

    def _whole(self, file: Path, name: str) -> Any | None:
        if self._places is None:
            self._places = structure.node_places(file)
        place = self._places.get(name)
        return None if place is None else structure.node_at(file, *place)


def constant_values(node: Node, file: Path | None = None) -> np.ndarray:
    """What a Const holds, as an array; texts as bytes, bfloat16 as float32.

    Args:
        node: It may have been read without its values.
        file: Where those are then: the graph's file.

    Raises:
        IcebreakerError: It is no constant, its values are not there any more, or of a type that NumPy lacks.
    """
    return _array(node, _content(node, file))


def _array(node: Node, content: _Content) -> np.ndarray:
    value = content.value
    if isinstance(content.source, Path):
        return np.fromfile(content.source, np.dtype(value.dtype)).reshape(value.shape)
    from tensorboard.util.tensor_util import make_ndarray

    try:
        if value.dtype == "bfloat16":  # which NumPy lacks: the upper half of a float32
            halves = np.frombuffer(content.source.tensor_content, np.uint16)
            halves = halves if len(halves) else np.array(content.source.half_val, np.uint16)
            whole = (halves.astype(np.uint32) << 16).view(np.float32)
            return np.resize(whole, value.shape) if len(whole) == 1 else whole.reshape(value.shape)
        array = np.asarray(make_ndarray(content.source))
    except (TypeError, ValueError, KeyError) as error:
        raise _not_there(node) from error
    return _texts(node, array) if array.dtype.kind in "OSU" else array


def save_constant(node: Node, file: Path | None, target: Path) -> None:
    """Writes what a Const holds as a .npy file, which needs no pickle to be read.

    Raises:
        IcebreakerError: As in `constant_values`, or the file could not be written.
    """
    content = _content(node, file)
    if isinstance(content.source, Path):
        data: Pieces = [_header(np.dtype(content.value.dtype), content.value.shape), content.source]
    else:
        array = np.ascontiguousarray(constant_values(node, file)).reshape(content.value.shape)
        data = [_header(array.dtype, array.shape), array.tobytes()]
    write_together({target: data})


_VALUES = (
    "float_val", "int_val", "half_val", "double_val", "int64_val", "bool_val", "uint32_val", "uint64_val",
)  # fmt: skip


class _Content:
    """Where the values of a constant are: in a message, or in a file that holds nothing else."""

    def __init__(self, value: TensorValue, source: Any) -> None:
        self.value = value
        self.source: Any | Path = source


def _content(node: Node, file: Path | None, read: Callable[[Path, str], Any | None] = structure.read_node) -> _Content:
    """Finds the values of a constant; `read` gives a node of the file, whole.

    Raises:
        IcebreakerError: It is no constant, or they are not there any more.
    """
    value = node.value
    if value is None:
        raise IcebreakerError("not_a_constant", "{subject} is no constant", subject=node.name)
    tensor = node.definition.attr["value"].tensor
    if tensor.ByteSize() < value.nbytes and not _is_short_form(tensor) and file is not None:
        whole = read(file, node.name)
        if whole is not None and whole.op == external_weights.MAPPED:
            place = whole.attr["memory_region_name"].s.decode("utf-8", "replace")
            return _Content(value, external_weights.file_at(file.absolute().parent, place, value.nbytes))
        if whole is None or whole.op != "Const" or tensor_value(whole.attr["value"].tensor) != value:
            raise _not_there(node)  # another graph lies there by now
        tensor = whole.attr["value"].tensor
    if not isinstance(tensor, TensorProto):
        tensor = TensorProto.FromString(tensor.SerializeToString())
    return _Content(value, tensor)


def _is_short_form(tensor: Any) -> bool:
    """Whether one value stands for all: a field with one entry and no content."""
    return not tensor.tensor_content and any(
        len(getattr(tensor, name)) == 1
        for name in (
            "float_val",
            "int_val",
            "half_val",
            "double_val",
            "int64_val",
            "bool_val",
            "uint32_val",
            "uint64_val",
        )
    )


def _not_there(node: Node) -> IcebreakerError:
    return IcebreakerError(
        "values_missing", "the values of {subject!r} are not in the graph's file", "open_graph_again",
        subject=node.name,
    )  # fmt: skip


def _texts(node: Node, array: np.ndarray) -> np.ndarray:
    """Texts in a form that needs no pickle; NumPy's cuts zeros at their ends off, so such texts have none."""
    flat = [item if isinstance(item, bytes) else str(item).encode() for item in array.reshape(-1).tolist()]
    if any(item.endswith(b"\0") for item in flat):
        raise IcebreakerError(
            "texts_end_in_zeros", "the texts of {subject!r} end in zeros, which a .npy file cannot hold",
            subject=node.name,
        )  # fmt: skip
    return np.array(flat, dtype=np.bytes_).reshape(array.shape)


def _header(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    stream = io.BytesIO()
    head = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, head)
    return stream.getvalue()
