"""TensorFlow Lite models, to be looked at: read in the worker, by the schema that comes with TensorFlow."""

from __future__ import annotations

import functools
import importlib.util
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from icebreaker.errors import IcebreakerError
from icebreaker.formats.shown import Described, Drawing, new_function, new_graph, write_attribute
from icebreaker.storage.files import check_file
from icebreaker.storage.weight_store import Store

NEEDS_TENSORFLOW = True
PATTERNS = ("*.tflite",)
KIND = "a TensorFlow Lite model"
_MARK = b"TFL3"  # at byte 4
_MOST_BYTES = (1 << 31) - 1
_MOST_NODES = 1_000_000
_MOST_RANK = 64
# TensorFlow Lite's numbers of types → TensorFlow's.
_TYPES: Mapping[int, int] = {
    0: 1, 1: 19, 2: 3, 3: 4, 4: 9, 5: 7, 6: 10, 7: 5, 8: 8, 9: 6, 10: 2, 11: 18, 12: 23, 13: 20, 14: 21, 15: 22,
    16: 17, 18: 14,
}  # fmt: skip
_NO_TYPE = 0


def matches(path: Path) -> bool:
    """A file whose name ends in `.tflite`, or that begins as such do."""
    if not path.is_file():
        return False
    if path.suffix.lower() == ".tflite":
        return True
    try:
        with path.open("rb") as stream:
            return stream.read(8)[4:] == _MARK
    except OSError:
        return False


def read(path: Path, allow_side_effects: bool = False) -> Any:
    """The model as a graph to be looked at.

    Raises:
        IcebreakerError: It is no TensorFlow Lite model, or is damaged.
    """
    try:
        check_file(path, _MOST_BYTES)
        data = path.read_bytes()
    except OSError as error:
        raise IcebreakerError(
            "file_not_read", "{subject} could not be read: {reason}", subject=path, reason=error.strerror or str(error)
        ) from error
    definition = drawn(data) if data[4:8] == _MARK else None
    if definition is None or not definition.node:
        raise IcebreakerError(
            "tflite_damaged", "{subject} is no TensorFlow Lite model, or is damaged or cut short", "copy_again",
            subject=path,
        )  # fmt: skip
    return definition


def read_apart(path: Path, store: Store, big: int, allow_side_effects: bool = False) -> Any | None:
    """Nothing is read apart: it is only shown."""
    return None


def drawn(data: bytes) -> Any | None:
    """A model as a graph; None if the bytes are none, or contradict themselves."""
    schema = schema_of_tensorflow()
    try:
        model = schema.Model.GetRootAs(data, 0)
        return _Model(schema, model, len(data)).draw()
    # What a flatbuffer says is where other things are: a damaged one leads anywhere.
    except (struct.error, IndexError, ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        return None


@functools.cache
def schema_of_tensorflow() -> Any:
    """The classes that read and write such files; TensorFlow itself, which they do not need, is not imported."""
    found = importlib.util.find_spec("tensorflow")
    assert found is not None and found.origin is not None  # noqa: S101 - a dependency
    file = Path(found.origin).parent / "lite" / "python" / "schema_py_generated.py"
    spec = importlib.util.spec_from_file_location("icebreaker.formats.tflite_schema", file)
    assert spec is not None and spec.loader is not None  # noqa: S101 - it is a Python file
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class _Model:
    """A model while it is drawn."""

    def __init__(self, schema: Any, model: Any, size: int) -> None:
        self._model, self._size = model, size
        self._ops = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
        self._options = schema.BuiltinOptionsCreator
        self._budget = _MOST_NODES

    def draw(self) -> Any:
        """All of it: the first graph, and the others as functions."""
        definition, drawing = new_graph(KIND)
        count = self._checked(self._model.SubgraphsLength())
        for index in range(count):
            graph = self._model.Subgraphs(index)
            if index:
                drawing = new_function(definition, KIND, self._function(index))
            self._draw(drawing, graph)
        return definition

    def _checked(self, count: int) -> int:
        """A number of things in the file, which take at least a byte each.

        Raises:
            ValueError: There cannot be so many.
        """
        self._budget -= count
        if not 0 <= count <= self._size or self._budget < 0:
            raise ValueError("more than there can be")
        return count

    def _function(self, index: int) -> str:
        return f"subgraph_{index}"

    def _draw(self, drawing: Drawing, graph: Any) -> None:
        count = self._checked(graph.TensorsLength())
        tensors = [self._described(graph.Tensors(index), index) for index in range(count)]
        names = [self._text(graph.Tensors(index).Name()) or f"tensor_{index}" for index in range(len(tensors))]
        inputs = [graph.Inputs(index) for index in range(self._checked(graph.InputsLength()))]
        for index in inputs:
            drawing.input(names[index], tensors[index])
        operators = [graph.Operators(index) for index in range(self._checked(graph.OperatorsLength()))]
        made = {index for operator in operators for index in self._indices(operator, "Outputs")}
        for index, tensor in enumerate(tensors):
            if index not in made and index not in inputs:
                drawing.constant(names[index], tensor, self._content(graph.Tensors(index)))
        for operator in operators:
            reads, gives = self._indices(operator, "Inputs"), self._indices(operator, "Outputs")
            op = self._op(operator)
            node = drawing.node(names[gives[0]] if gives else op, op, reads, [tensors[index] for index in gives])
            for key, value in self._attributes(operator):
                if key.endswith("SubgraphIndex") and 0 < value < self._model.SubgraphsLength():
                    node.attr[key.removesuffix("SubgraphIndex")].func.name = self._function(value)
                else:
                    write_attribute(node.attr, key, value)
        outputs = [graph.Outputs(index) for index in range(self._checked(graph.OutputsLength()))]
        drawing.finish([(names[index], tensors[index]) for index in outputs] if drawing.function is not None else ())

    def _indices(self, operator: Any, which: str) -> list[int]:
        """Tensors that an operator reads or gives; -1 stands for one that is left out."""
        count = self._checked(getattr(operator, f"{which}Length")())
        found = [int(getattr(operator, which)(index)) for index in range(count)]
        return [index for index in found if index >= 0]

    def _described(self, tensor: Any, index: int) -> Described:
        rank = tensor.ShapeSignatureLength() or tensor.ShapeLength()
        if not 0 <= rank <= _MOST_RANK:
            raise ValueError("more dimensions than there can be")
        dim = tensor.ShapeSignature if tensor.ShapeSignatureLength() else tensor.Shape
        return Described(index, _TYPES.get(tensor.Type(), _NO_TYPE), [max(-1, int(dim(axis))) for axis in range(rank)])

    def _content(self, tensor: Any) -> bytes | None:
        if not 0 < tensor.Buffer() < self._model.BuffersLength():
            return None
        buffer = self._model.Buffers(tensor.Buffer())
        return buffer.DataAsNumpy().tobytes() if 0 < buffer.DataLength() <= self._size else None

    def _op(self, operator: Any) -> str:
        code = self._model.OperatorCodes(operator.OpcodeIndex())
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        return self._text(code.CustomCode()) or self._ops.get(number, f"op {number}")

    def _text(self, text: bytes | None) -> str:
        return (text or b"").decode("utf-8", "replace")[:1000]

    def _attributes(self, operator: Any) -> Iterator[tuple[str, Any]]:
        """The options of an operator, by the schema's names."""
        if not operator.BuiltinOptionsType() or operator.BuiltinOptions() is None:
            return
        options = self._options(operator.BuiltinOptionsType(), operator.BuiltinOptions())
        for key, value in vars(options).items() if options is not None else ():
            yield key, value.tolist() if hasattr(value, "tolist") else value
