"""A segment as an engine is handed it: the engine takes the form that it starts from, made when first asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from icebreaker.errors import IcebreakerError

# An ONNX model: serialized; or its file, if its big weights lie in files beside that (ONNX's external data).
Model = bytes | Path


@dataclass(frozen=True)
class Port:
    """A tensor that enters or leaves a segment.

    Attributes:
        name: The same in every form, such as `input_0:0`.
        dtype: As TensorFlow calls it, such as `float32`; empty if it is not known.
        shape: None where a dimension is open, or in place of all if even the rank is unknown.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...] | None


class SegmentModel:
    """A segment of the graph, in the forms that engines start from.

    Attributes:
        inputs: What enters it, in the order in which a runner takes it.
        outputs: What leaves it, in the order in which a runner gives it.
    """

    def __init__(
        self,
        inputs: Sequence[Port],
        outputs: Sequence[Port],
        onnx: Callable[[], Model],
        graph_def: Callable[[], Any] | None = None,
        joined: Callable[[Path], bytes] = Path.read_bytes,
    ) -> None:
        """Makes no form yet.

        Args:
            inputs: See the attribute.
            outputs: See the attribute.
            onnx: Makes the ONNX form; raises IcebreakerError if the segment has none.
            graph_def: Makes the TensorFlow form; None: it has none, since it is quantized.
            joined: Reads an ONNX model with its weights, which lie beside it, into one message.
        """
        self.inputs, self.outputs = tuple(inputs), tuple(outputs)
        self._make_onnx, self._make_graph_def, self._join = onnx, graph_def, joined

    @classmethod
    def of_onnx(cls, model: Model) -> SegmentModel:
        """A segment that is an ONNX model and nothing else; one that cannot be read has no inputs and outputs."""
        import onnx
        from google.protobuf.message import DecodeError

        try:
            if isinstance(model, bytes):
                graph = onnx.load_model_from_string(model).graph
            else:
                graph = onnx.load(str(model), load_external_data=False).graph
        except (DecodeError, OSError):
            return cls((), (), lambda: model)
        return cls(list(map(_port, graph.input)), list(map(_port, graph.output)), lambda: model)

    @cached_property
    def onnx(self) -> Model:
        """The ONNX form: opset 18, one graph; the weights of a big graph lie in files beside the model's.

        Raises:
            IcebreakerError: Some nodes cannot be converted to ONNX.
        """
        return self._make_onnx()

    def onnx_bytes(self) -> bytes:
        """The ONNX form with all weights inside, for engines that take nothing else; raises what `onnx` raises."""
        return self.onnx if isinstance(self.onnx, bytes) else self._join(self.onnx)

    def graph_def(self) -> Any:
        """TensorFlow's GraphDef of the segment: a Placeholder for each of `inputs`, its nodes, its constants.

        Made anew by each call, since it holds all weights.

        Raises:
            IcebreakerError: It has none: it is quantized.
        """
        if self._make_graph_def is None:
            raise IcebreakerError("graph_def_missing", "a quantized segment has no form in TensorFlow")
        return self._make_graph_def()

    def with_onnx(self, model: bytes) -> SegmentModel:
        """The same segment with another model in the place of its ONNX form, such as a quantized one."""
        return SegmentModel(self.inputs, self.outputs, lambda: model)


def _port(value: Any) -> Port:
    """A port from ONNX's ValueInfoProto."""
    from onnx import helper

    kind = value.type.tensor_type
    shape = tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in kind.shape.dim)
    dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type).name if kind.elem_type else ""
    return Port(value.name, dtype, shape if kind.HasField("shape") else None)
