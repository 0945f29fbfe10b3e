"""Exports recurrent networks: each loop becomes a CudnnRNNV3 node for the converter, and that an ONNX LSTM, GRU or RNN.

TensorFlow knows that op, and infers the shapes of what it gives, on every machine; nobody runs it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from onnx import TensorProto

from icebreaker.export.ops.writer import Handler
from icebreaker.export.recurrent.cells import Cell
from icebreaker.export.recurrent.loops import Recurrence
from icebreaker.export.recurrent.scans import ENUMS, renamed
from icebreaker.tensors import Tensor

_OP = "CudnnRNNV3"
_SCAN = "PyFuncStateless"  # takes and gives anything
_FLOAT = 1
_INT32 = 3
_ALL = -(2**31)  # in the place of lengths: all steps of all rows


def with_stand_ins(
    definition: Any, recurrences: Iterable[Recurrence], spelled: Callable[[Tensor], str] = str
) -> tuple[Any, Mapping[str, Handler]]:
    """A segment's graph with a node of its own for each recurrent network.

    Args:
        definition: TensorFlow's GraphDef.
        recurrences: Those whose nodes are in it.
        spelled: What a tensor of the graph is called in the segment's.

    Returns:
        The graph, which has no functions, and the converter that it needs.
    """
    result = type(definition)(versions=definition.versions)
    taken = {node.name for node in definition.node}
    gone = {name for item in recurrences for name in item.members}
    for node in definition.node:
        if node.name not in gone:
            copy = result.node.add()
            copy.CopyFrom(node)
            del copy.input[:]
            copy.input.extend(text for text in node.input if not (text.startswith("^") and text[1:] in gone))
    cells: dict[str, Cell] = {}
    scans: dict[str, Recurrence] = {}
    for item in recurrences:
        to = _Writer(result, item, spelled, taken)
        if item.cell is not None:
            cells[to.cell()] = item.cell
        else:
            scans[to.scan()] = item
    return result, {_OP: _handler(cells), _SCAN: _scan_handler(scans)}


class _Writer:
    """Adds the nodes that take the place of one loop to a segment's graph."""

    def __init__(self, result: Any, item: Recurrence, spelled: Callable[[Tensor], str], taken: set[str]) -> None:
        self._result, self._item, self._spelled, self._taken = result, item, spelled, taken

    def cell(self) -> str:
        """A stand-in for the cell; its name."""
        item, spelled = self._item, self._spelled
        axis = self._const([0], [], _INT32)
        nothing = self._const([0], [1], _FLOAT)  # the weights go to the converter beside the graph
        begins = [
            self._node("ExpandDims", [spelled(tensor), axis], T=_FLOAT, Tdim=_INT32).name for tensor in item.initial
        ]
        lengths = self._const([_ALL], [1], _INT32)
        if item.lengths is not None:
            lengths = self._node("Cast", [spelled(item.lengths)], SrcT=item.lengths_type, DstT=_INT32).name
        cell = self._node(_OP, [spelled(item.sequence), begins[0], begins[-1], nothing, lengths], T=_FLOAT)
        cell.attr["is_training"].b = False
        cell.attr["rnn_mode"].s = b"lstm" if item.cell and item.cell.kind == "LSTM" else b"gru"
        for name, has_all in item.stacks.items():
            self._node("Identity", [cell.name if has_all else f"{cell.name}:1"], name, T=_FLOAT)
        ends = [self._node("Squeeze", [f"{cell.name}:{1 + index}"], T=_FLOAT) for index in range(len(begins))]
        for end in ends:
            end.attr["squeeze_dims"].list.i.append(0)
        self._finals([end.name for end in ends], [_FLOAT] * len(ends))
        return cell.name

    def scan(self) -> str:
        """A stand-in for a loop of any kind, with the shapes that TensorFlow knew; its name."""
        item, scan = self._item, self._item.scan
        assert scan is not None  # noqa: S101 - or it is a cell
        count = len(scan.states)
        reads = [*scan.states, *scan.fixed, *scan.sequences]
        if isinstance(scan.limit, Tensor):
            reads.append(scan.limit)
        node = self._node(_SCAN, [self._spelled(tensor) for tensor in reads])
        node.attr["token"].s = b""
        kinds = [
            ENUMS[dtype] for dtype in (*scan.dtypes[:count], *(dtype for _, dtype in item.shapes[: len(item.stacks)]))
        ]
        node.attr["Tout"].list.type.extend(kinds)
        node.attr["Tin"].list.type.extend(item.read_types)
        known = [shape for shape, _ in item.shapes]
        for place, name in enumerate(item.stacks):
            self._shaped(f"{node.name}:{count + place}", kinds[count + place], known[place], name)
        finals: list[str] = []
        shapes = {state: known[len(item.stacks) + place] for place, state in enumerate(item.finals.values())}
        for state in range(count):
            finals.append(self._shaped(f"{node.name}:{state}", kinds[state], shapes.get(state)))
        self._finals(finals, kinds[:count])
        return node.name

    def _shaped(self, text: str, dtype: int, shape: Any, name: str = "") -> str:
        made = self._node("EnsureShape", [text], name, T=dtype)
        if shape is None:
            made.attr["shape"].shape.unknown_rank = True
        else:
            made.attr["shape"].shape.SetInParent()
            for size in shape:
                made.attr["shape"].shape.dim.add(size=-1 if size is None else size)
        return made.name

    def _finals(self, ends: list[str], dtypes: list[int]) -> None:
        """The states at the end under their old names; other ports of the same node, which nobody reads, are filled."""
        ports: dict[str, dict[int, int]] = {}
        for tensor, state in self._item.finals.items():
            ports.setdefault(tensor.node, {})[tensor.port] = state
        for name, states in ports.items():
            order = [states.get(port, 0) for port in range(max(states) + 1)]
            made = self._node("IdentityN", [ends[state] for state in order], name)
            made.attr["T"].list.type.extend(dtypes[state] for state in order)

    def _fresh(self) -> str:
        number = 0
        while (name := f"{self._item.name}__{number}") in self._taken:
            number += 1
        self._taken.add(name)
        return name

    def _node(self, op: str, inputs: list[str], name: str = "", **types: int) -> Any:
        made = self._result.node.add(name=name or self._fresh(), op=op, input=inputs)
        for key, number in types.items():
            made.attr[key].type = number
        return made

    def _const(self, values: list[int], shape: list[int], dtype: int) -> str:
        made = self._node("Const", [], dtype=dtype)
        tensor = made.attr["value"].tensor
        tensor.dtype = dtype
        tensor.tensor_shape.SetInParent()
        for size in shape:
            tensor.tensor_shape.dim.add(size=size)
        (tensor.int_val if dtype == _INT32 else tensor.float_val).extend(values)
        return made.name


def _handler(cells: Mapping[str, Cell]) -> Handler:
    def convert(ctx: Any, node: Any, name: str, args: Any) -> None:
        from tf2onnx import utils

        cell, sequence = cells[node.name], node.input[0]
        states = list(node.input[1:3]) if cell.kind == "LSTM" else [node.input[1]]
        outputs, shapes = list(node.output), [ctx.get_shape(item) for item in node.output[:3]]
        dtype, lengths, given = ctx.get_dtype(node.output[0]), node.input[4], node.inputs[4]
        has_all = given.is_const() and given.get_tensor_value(as_list=False).tolist() == [_ALL]
        ctx.remove_node(node.name)

        def constant(value: np.ndarray) -> str:
            whole = np.ascontiguousarray(value[np.newaxis])
            return ctx.make_const(utils.make_name(f"{node.name}_weights"), whole).output[0]

        attributes: dict[str, Any] = {"hidden_size": cell.units, "activations": list(cell.activations)}
        if cell.kind == "GRU":
            attributes["linear_before_reset"] = cell.linear_before_reset
        weights = [constant(item) for item in (cell.weights, cell.recurrent, cell.bias)]
        steps = "" if has_all else _at_most_all(ctx, lengths, sequence, node.name)
        every = utils.make_name(f"{node.name}_all")
        gives = [every, *outputs[1 : 1 + len(states)]]
        whole = None if shapes[0] is None else [shapes[0][0], 1, *shapes[0][1:]]
        ctx.make_node(
            cell.kind, [sequence, *weights, steps, *states], outputs=gives, name=node.name, attr=attributes,
            shapes=[whole, *shapes[1 : 1 + len(states)]], dtypes=[dtype] * len(gives), skip_conversion=True,
        )  # fmt: skip
        axes = ctx.make_const(utils.make_name(f"{node.name}_axes"), np.array([1], np.int64)).output[0]
        ctx.make_node(
            "Squeeze", [every, axes], outputs=[outputs[0]], shapes=[shapes[0]], dtypes=[dtype], skip_conversion=True,
            name=utils.make_name(node.name),
        )  # fmt: skip

    return convert, []


def _at_most_all(ctx: Any, lengths: str, sequence: str, name: str) -> str:
    """Lengths from 0 to that of the sequence: TensorFlow compares with them, and takes any."""
    from tf2onnx import utils

    def add(op: str, inputs: list[str], **attributes: Any) -> str:
        return ctx.make_node(op, inputs, attr=attributes, name=utils.make_name(name)).output[0]

    def constant(value: Any, dtype: Any) -> str:
        return ctx.make_const(utils.make_name(name), np.array(value, dtype)).output[0]

    most = add("Cast", [add("Gather", [add("Shape", [sequence]), constant(0, np.int64)])], to=TensorProto.INT32)
    return add("Max", [add("Min", [lengths, most]), constant(0, np.int32)])


def _scan_handler(scans: Mapping[str, Recurrence]) -> Handler:
    def convert(ctx: Any, node: Any, name: str, args: Any) -> None:
        from tf2onnx import utils

        item = scans[node.name]
        scan = item.scan
        assert scan is not None  # noqa: S101 - those in `scans` have one
        inputs, outputs = list(node.input), list(node.output)
        shapes, dtypes = [ctx.get_shape(text) for text in outputs], [ctx.get_dtype(text) for text in outputs]
        ctx.remove_node(node.name)

        def add(op: str, inputs: list[str], **attributes: Any) -> str:
            return ctx.make_node(op, inputs, attr=attributes, name=utils.make_name(node.name)).output[0]

        def constant(value: Any) -> str:
            return ctx.make_const(utils.make_name(node.name), np.array(value, np.int64)).output[0]

        loops, steps = len(scan.states) + len(scan.fixed), len(scan.sequences)
        reads = inputs[: loops + steps]
        if scan.counters:
            if scan.sequences:
                count = add("Gather", [add("Shape", [inputs[loops]]), constant(0)])
            else:
                count = (
                    add("Cast", [inputs[-1]], to=TensorProto.INT64)
                    if isinstance(scan.limit, Tensor)
                    else constant(scan.limit)
                )
            numbers = add("Range", [constant(0), count, constant(1)])
            reads += [add("Cast", [numbers], to=_onnx_type(dtype)) for dtype in scan.counters]
        # One output of the Scan for each that the loop writes, in the order of its variables.
        written = [utils.make_name(f"{node.name}_written") for _ in scan.dtypes[loops:]]
        ends = [*outputs[: len(scan.states)], *(utils.make_name(f"{node.name}_fixed") for _ in scan.fixed)]
        every = [*ends, *written]
        ctx.make_node(
            "Scan", reads, outputs=every, name=node.name, skip_conversion=True,
            attr={"body": renamed(scan.body, f"{node.name}/step/"), "num_scan_inputs": len(reads) - loops},
            dtypes=[_onnx_type(dtype) for dtype in scan.dtypes], shapes=[None] * len(every),
        )  # fmt: skip
        for place, output in enumerate(outputs[len(scan.states) :]):
            source, has_all = written[item.written[place]], list(item.stacks.values())[place]
            if not has_all:
                source = add("Unsqueeze", [add("Gather", [source, constant(-1)], axis=0), constant([0])])
            index = len(scan.states) + place
            ctx.make_node(
                "Identity", [source], outputs=[output], shapes=[shapes[index]], dtypes=[dtypes[index]],
                name=utils.make_name(node.name),
            )  # fmt: skip

    return convert, []


def _onnx_type(dtype: str) -> int:
    """ONNX's number of a type."""
    import onnx

    return onnx.TensorProto.FLOAT if dtype == "bfloat16" else onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
