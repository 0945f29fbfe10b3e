"""Exports recurrent networks: each loop becomes a CudnnRNN node for the converter, and that an ONNX LSTM, GRU or RNN.

TensorFlow knows that op, and infers the shapes of what it gives, on every machine; nobody runs it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from icebreaker.export.ops.writer import Handler
from icebreaker.export.recurrent.cells import Cell
from icebreaker.export.recurrent.loops import Recurrence

_OP = "CudnnRNN"
_FLOAT = 1
_INT32 = 3


def with_stand_ins(definition: Any, recurrences: Iterable[Recurrence]) -> tuple[Any, Mapping[str, Handler]]:
    """A segment's graph with a node of its own for each recurrent network.

    Args:
        definition: TensorFlow's GraphDef.
        recurrences: Those whose nodes are in it.

    Returns:
        The graph, which has no functions, and the converter that it needs.
    """
    result = type(definition)(versions=definition.versions)
    taken = {node.name for node in definition.node}
    nodes = {node.name: node for node in definition.node}
    cells: dict[str, Cell] = {}
    gone = {name for item in recurrences for name in item.nodes}
    for node in definition.node:
        if node.name not in gone:
            result.node.add().CopyFrom(node)
    for item in recurrences:
        # As the graph of the segment spells what the loop reads.
        sequence = next(nodes[name] for name in item.lists if nodes[name].op == "TensorListFromTensor").input[0]
        states = [nodes[item.name].input[place] for place in item.cell.states]
        cells[_add(result, item, sequence, states, taken)] = item.cell
    return result, {_OP: _handler(cells)} if cells else {}


def _add(result: Any, item: Recurrence, sequence: str, states: list[str], taken: set[str]) -> str:
    """Adds the nodes that take the place of a loop; returns the stand-in's name."""

    def fresh() -> str:
        number = 0
        while (name := f"{item.name}__{number}") in taken:
            number += 1
        taken.add(name)
        return name

    def node(op: str, inputs: list[str], name: str = "", **types: int) -> Any:
        made = result.node.add(name=name or fresh(), op=op, input=inputs)
        for key, number in types.items():
            made.attr[key].type = number
        return made

    axis = node("Const", [], dtype=_INT32)
    axis.attr["value"].tensor.dtype = _INT32
    axis.attr["value"].tensor.tensor_shape.SetInParent()
    axis.attr["value"].tensor.int_val.append(0)
    nothing = node("Const", [], dtype=_FLOAT)  # the weights go to the converter beside the graph
    nothing.attr["value"].tensor.dtype = _FLOAT
    nothing.attr["value"].tensor.tensor_shape.dim.add(size=1)
    nothing.attr["value"].tensor.float_val.append(0)
    begins = [node("ExpandDims", [text, axis.name], T=_FLOAT, Tdim=_INT32).name for text in states]
    inputs = [sequence, begins[0], begins[-1], nothing.name]
    cell = node(_OP, inputs, T=_FLOAT)
    cell.attr["is_training"].b = False
    cell.attr["rnn_mode"].s = b"lstm" if item.cell.kind == "LSTM" else b"gru"
    for name, has_all in item.stacks.items():
        node("Identity", [cell.name if has_all else f"{cell.name}:1"], name, T=_FLOAT)
    if item.finals:
        ends = [node("Squeeze", [f"{cell.name}:{1 + index}"], T=_FLOAT) for index in range(len(states))]
        for end in ends:
            end.attr["squeeze_dims"].list.i.append(0)
        # Under the loop's name, as many tensors as are asked for; nobody reads those that were no states.
        gives = [ends[item.finals.get(port, 0)].name for port in range(max(item.finals) + 1)]
        node("IdentityN", gives, item.name).attr["T"].list.type.extend([_FLOAT] * len(gives))
    return cell.name


def _handler(cells: Mapping[str, Cell]) -> Handler:
    def convert(ctx: Any, node: Any, name: str, args: Any) -> None:
        from tf2onnx import utils

        cell, sequence = cells[node.name], node.input[0]
        states = list(node.input[1:3]) if cell.kind == "LSTM" else [node.input[1]]
        outputs, shapes = list(node.output), [ctx.get_shape(item) for item in node.output[:3]]
        dtype = ctx.get_dtype(node.output[0])
        ctx.remove_node(node.name)

        def constant(value: np.ndarray) -> str:
            whole = np.ascontiguousarray(value[np.newaxis])
            return ctx.make_const(utils.make_name(f"{node.name}_weights"), whole).output[0]

        attributes: dict[str, Any] = {"hidden_size": cell.units, "activations": list(cell.activations)}
        if cell.kind == "GRU":
            attributes["linear_before_reset"] = cell.linear_before_reset
        weights = [constant(item) for item in (cell.weights, cell.recurrent, cell.bias)]
        every = utils.make_name(f"{node.name}_all")
        gives = [every, *outputs[1 : 1 + len(states)]]
        whole = None if shapes[0] is None else [shapes[0][0], 1, *shapes[0][1:]]
        ctx.make_node(
            cell.kind, [sequence, *weights, "", *states], outputs=gives, name=node.name, attr=attributes,
            shapes=[whole, *shapes[1 : 1 + len(states)]], dtypes=[dtype] * len(gives), skip_conversion=True,
        )  # fmt: skip
        axes = ctx.make_const(utils.make_name(f"{node.name}_axes"), np.array([1], np.int64)).output[0]
        ctx.make_node(
            "Squeeze", [every, axes], outputs=[outputs[0]], shapes=[shapes[0]], dtypes=[dtype], skip_conversion=True,
            name=utils.make_name(node.name),
        )  # fmt: skip

    return convert, []
