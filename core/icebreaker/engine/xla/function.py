"""A graph as a function that XLA compiles, and a graph that calls such a function.

TensorFlow compiles what a node calls if the node says `_XlaMustCompile`, and keeps its hands off if it says
`_noinline`. Such a function holds no Placeholder: it has arguments.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from icebreaker.engine.segment_model import Port
from icebreaker.engine.xla import ops
from icebreaker.errors import IcebreakerError
from icebreaker.graph.traversal import reachable
from icebreaker.tensors import Tensor

ATTRIBUTES = ("_XlaMustCompile", "_noinline")  # of the function, and of a node that calls it
# A function's name tells what it was made for, CPU or GPU; TensorFlow takes no attributes there that it does not know.
_NAME = "icebreaker_xla_{device}_{digest}"


def made_from(definition: Any, inputs: Sequence[Port], outputs: Sequence[Tensor], device: str) -> Any:
    """The FunctionDef of a graph, named after what is in it.

    Args:
        definition: TensorFlow's GraphDef.
        inputs: Its Placeholders, in the order of the arguments.
        outputs: What it gives.
        device: What it is made for, CPU or GPU.
    """
    from tensorflow.core.framework.function_pb2 import FunctionDef

    function = FunctionDef()
    nodes = {node.name: node for node in definition.node}
    arguments = {Tensor.parse(port.name).node: f"input_{index}" for index, port in enumerate(inputs)}
    for node, name in arguments.items():
        function.signature.input_arg.add(name=name, type=nodes[node].attr["dtype"].type)
    given = {name: ops.outputs(node) for name, node in nodes.items() if name not in arguments}
    taken = set(arguments.values())
    names = {name: f"{name}__node" if name in taken else name for name in given}  # no argument's name

    def spelled(tensor: Tensor) -> str:
        if tensor.node in arguments:
            return arguments[tensor.node]
        argument = given[tensor.node][tensor.port]
        return f"{names[tensor.node]}:{argument.name}:{argument.index}"

    def sources(name: str) -> list[str]:
        return [Tensor.parse(text).node for text in nodes[name].input]

    needed = set(reachable((item.node for item in outputs), sources))
    for name, node in nodes.items():
        if name not in given or name not in needed:
            continue
        copy = function.node_def.add(name=names[name], op=node.op)
        for text in node.input:
            tensor = Tensor.parse(text)
            if not text.startswith("^"):
                copy.input.append(spelled(tensor))
            elif tensor.node in given:
                copy.input.append(f"^{names[tensor.node]}")
        for key, value in node.attr.items():
            if not key.startswith("_"):
                copy.attr[key].CopyFrom(value)
    for index, tensor in enumerate(outputs):
        kind = (
            nodes[tensor.node].attr["dtype"].type if tensor.node in arguments else given[tensor.node][tensor.port].type
        )
        function.signature.output_arg.add(name=f"output_{index}", type=kind)
        function.ret[f"output_{index}"] = spelled(tensor)
    for key in ATTRIBUTES:
        function.attr[key].b = True
    # TensorFlow knows functions by name, in all graphs of a process alike.
    content = digest(function.SerializeToString(deterministic=True))[:16]
    function.signature.name = _NAME.format(device=device, digest=content)
    return function


def digest(data: bytes) -> str:
    """The SHA-256 of some bytes."""
    return hashlib.sha256(data).hexdigest()


def read(payload: bytes) -> Any:
    """The FunctionDef in a payload.

    Raises:
        IcebreakerError: There is none.
    """
    from google.protobuf.message import DecodeError
    from tensorflow.core.framework.function_pb2 import FunctionDef

    try:
        function = FunctionDef.FromString(payload)
    except DecodeError:
        function = FunctionDef()
    if not function.signature.name:
        raise IcebreakerError("function_damaged", "it is no function of TensorFlow", "convert_again")
    return function


def is_for_gpu(function: Any) -> bool:
    """Whether a function was made for a GPU."""
    return function.signature.name.startswith(_NAME.partition("{")[0] + "GPU")


def calling(function: Any) -> tuple[Any, list[str], list[str]]:
    """A GraphDef that only calls a function, the Placeholders that it is fed through, and the tensors it gives."""
    import tensorflow as tf
    from tensorflow.core.framework.graph_pb2 import GraphDef

    definition = GraphDef()
    definition.versions.producer = tf.version.GRAPH_DEF_VERSION
    definition.library.function.append(function)
    call = definition.node.add(name="call", op="PartitionedCall")
    call.attr["f"].func.name = function.signature.name
    for key in ATTRIBUTES:
        call.attr[key].b = True
    for key, arguments in (("Tin", function.signature.input_arg), ("Tout", function.signature.output_arg)):
        call.attr[key].list.SetInParent()
        call.attr[key].list.type.extend(item.type for item in arguments)
    for item in function.signature.input_arg:
        definition.node.add(name=item.name, op="Placeholder").attr["dtype"].type = item.type
        call.input.append(item.name)
    outputs = [f"call:{index}" for index in range(len(function.signature.output_arg))]
    return definition, [f"{item.name}:0" for item in function.signature.input_arg], outputs
