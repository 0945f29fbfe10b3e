"""How inputs are damaged: bytes, graphs, SavedModels, JSON, arrays. What comes of it is `fuzz`'s business."""

from __future__ import annotations

import contextlib
import copy
import gzip
import io
import json
import random
import zipfile
from collections.abc import Iterator
from typing import Any

from google.protobuf import text_format
from google.protobuf.message import DecodeError
from tensorboard.compat.proto.meta_graph_pb2 import MetaGraphDef  # pyright: ignore[reportAttributeAccessIssue]

from icebreaker.graph.protos import GraphDef

_HOSTILE = (0, 1, -1, 2, 127, 128, 255, 1 << 15, (1 << 31) - 1, -(1 << 31), (1 << 63) - 1, -(1 << 63))
_OPS = (
    "Const", "Placeholder", "PlaceholderWithDefault", "Identity", "Switch", "Merge", "Enter", "Exit", "NextIteration",
    "LoopCond", "While", "If", "PartitionedCall", "NoOp", "PyFunc", "WriteFile", "Conv2D", "IdentityN", "", "☃",
)  # fmt: skip
_VALUES = (
    None, True, False, 0, -1, 1e308, float("nan"), float("inf"), 10**400, "", "x", "☃" * 1000, "\x00", [], {}, [[]],
    {"a": {"b": []}}, [1, "a", None], [[[[[]]]]],
)  # fmt: skip


def damage_bytes(chance: random.Random, data: bytes, others: list[bytes]) -> bytes:
    """One to four blows to the bytes."""
    found = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(found)) if found else 0
        length = min(chance.choice((1, 2, 4, 8, 64, 1024)), len(found) - at)
        match chance.randrange(8):
            case 0 | 1:
                if found:
                    found[at] ^= 1 << chance.randrange(8)
            case 2:
                found[at : at + length] = chance.randbytes(length)
            case 3:
                del found[at:]
            case 4:
                del found[at : at + length]
            case 5:
                found[at:at] = found[at : at + length] * chance.choice((1, 2, 50))
            case 6:
                other = chance.choice(others)
                start = chance.randrange(len(other)) if other else 0
                found[at : at + length] = other[start : start + length]
            case 7:  # a length or a number beyond all measure
                found[at : at + 1] = b"\xff" * chance.randint(1, 9) + bytes([chance.randrange(128)])
    return bytes(found)


def damage_graph(chance: random.Random, data: bytes, others: list[bytes]) -> bytes:
    """Blows to the bytes, or to the message's fields."""
    if chance.random() < 0.4:
        return damage_bytes(chance, data, others)
    definition = GraphDef()
    try:
        definition.ParseFromString(data)
    except DecodeError:
        return damage_bytes(chance, data, others)
    for _ in range(chance.randint(1, 6)):
        _damage_message(chance, definition)
    found = definition.SerializeToString()
    if chance.random() < 0.05:
        with contextlib.suppress(UnicodeDecodeError, DecodeError):
            found = text_format.MessageToString(definition).encode()
            if chance.random() < 0.5:
                found = damage_bytes(chance, found, others)
    if chance.random() < 0.05:
        found = gzip.compress(found, 1)
        if chance.random() < 0.5:
            found = damage_bytes(chance, found, others)
    return found


def damage_saved_model(chance: random.Random, data: bytes, others: list[bytes]) -> bytes:
    """Blows to the bytes, to the graph, or to what says how it is loaded."""
    if chance.random() < 0.3:
        return damage_bytes(chance, data, others)
    meta = MetaGraphDef.FromString(data)
    functions = meta.graph_def.library.function
    for _ in range(chance.randint(1, 6)):
        names = [item.name for item in meta.graph_def.node] + [item.signature.name for item in functions] or [""]
        name = chance.choice((*names, "", "nowhere", "a:0", "^a", "☃"))
        match chance.randrange(8):
            case 0 | 1:
                _damage_message(chance, meta.graph_def)
            case 2:
                _damage_functions(chance, meta.graph_def)
            case 3:
                field = chance.choice(("save_tensor_name", "restore_op_name", "filename_tensor_name"))
                setattr(meta.saver_def, field, name)
            case 4:
                meta.object_graph_def.concrete_functions[name].SetInParent()
            case 5:
                item = meta.object_graph_def.nodes.add()
                item.function.concrete_functions.append(name)
                item.children.add(
                    node_id=chance.choice((0, 1, -1, 1 << 30)), local_name=chance.choice(("_initialize", "x"))
                )
            case 6:
                meta.signature_def[chance.choice(("serving_default", "x"))].outputs["y"].name = name
            case 7:
                collection = meta.collection_def[chance.choice(("legacy_init_op", "savers", "variables"))]
                if chance.random() < 0.5:
                    collection.node_list.value.append(name)
                else:
                    collection.bytes_list.value.append(chance.choice((chance.randbytes(9), name.encode())))
    return meta.SerializeToString()


def _damage_functions(chance: random.Random, definition: Any) -> None:
    """Makes functions, and has them call each other, handed over in all the ways that there are."""
    functions = definition.library.function
    while len(functions) < chance.choice((1, 3, 3, 70)):
        function = functions.add()
        function.signature.name = chance.choice((f"f{len(functions)}", f"f{len(functions)}", "f0", "Identity", ""))
        function.signature.attr.add(name=chance.choice("fgh"), type=chance.choice(("func", "string", "")))
        function.node_def.add(name="n", op=chance.choice(_OPS))
    names = [function.signature.name for function in functions]
    bodies = [definition.node, *(function.node_def for function in functions)]
    for _ in range(chance.choice((1, 4, 80))):
        place = chance.randrange(len(bodies))
        node = bodies[place].add(name=f"c{len(bodies[place])}", op=chance.choice(("PartitionedCall", *names, *_OPS)))
        later = names[place:] or names  # more often no circle than one
        value = node.attr[chance.choice(("f", "g", "h", "output_stream", "vocab_file"))]
        match chance.randrange(6):
            case 0:
                value.placeholder = chance.choice("fgh")
            case 1:
                value.list.func.add(name=chance.choice(later)).attr["g"].func.name = chance.choice(later)
            case 2:
                value.s = chance.choice(names).encode()
            case _:
                value.func.name = chance.choice(later if chance.random() < 0.9 else names)
                given = value.func.attr[chance.choice("fgh")]
                for _ in range(chance.choice((0, 0, 1, 20))):  # protobuf reads no message that nests deeper than 100
                    given.func.name = chance.choice(later)
                    given = given.func.attr[chance.choice("fgh")]
                given.placeholder = chance.choice("fgh")
    if chance.random() < 0.3:
        default = chance.choice(functions).signature.attr.add(name=chance.choice("fgh")).default_value
        default.func.name = chance.choice(names)
        definition.library.gradient.add(function_name=chance.choice(names), gradient_func=chance.choice(names))


def _damage_message(chance: random.Random, definition: Any) -> None:
    if chance.random() < 0.15:
        _damage_functions(chance, definition)
        return
    nodes = definition.node
    functions = definition.library.function
    if functions and chance.random() < 0.3:
        nodes = chance.choice(functions).node_def
    if not nodes:
        nodes.add(name="new", op=chance.choice(_OPS))
        return
    node, other = chance.choice(nodes), chance.choice(nodes)
    match chance.randrange(13):
        case 0:
            node.op = chance.choice((*_OPS, other.op))
        case 1:
            node.name = chance.choice((other.name, "", "☃/☃", "/" * 500, other.name + "/x", "^a", "a:1"))
        case 2:
            node.input.append(
                chance.choice(
                    (other.name, f"^{other.name}", f"{other.name}:{chance.choice(_HOSTILE)}", "", ":", "^", "^^x")
                )
            )
        case 3 if node.input:
            node.input[chance.randrange(len(node.input))] = other.name  # cycles, too
        case 4 if node.input:
            del node.input[chance.randrange(len(node.input)) :]
        case 5 if node.attr:
            node.attr.pop(chance.choice(sorted(node.attr)))
        case 6 | 7:
            key = chance.choice((*sorted(node.attr), *sorted(other.attr), "value", "dtype", "shape", "T", "f"))
            _damage_attribute(chance, node.attr[key])
        case 8:
            nodes.add().CopyFrom(node)
        case 9:
            function = functions.add() if chance.random() < 0.5 or not functions else chance.choice(functions)
            function.signature.name = chance.choice((function.signature.name, node.op, "f", ""))
            function.node_def.add().CopyFrom(node)
        case 10:
            node.attr["f"].func.name = functions[0].signature.name if functions else "f"
        case 11:
            definition.versions.producer = chance.choice(_HOSTILE[:8])
        case 12:
            del nodes[chance.randrange(len(nodes)) :]


def _damage_attribute(chance: random.Random, value: Any) -> None:
    number = chance.choice(_HOSTILE)
    match chance.randrange(12):
        case 9:
            value.placeholder = chance.choice(("f", "", "☃", "x" * 5000))
        case 10:
            value.func.name = chance.choice(("f", "", "f0"))
            value.func.attr["f"].placeholder = "f"
        case 11:
            value.list.func.add(name="f0").attr["f"].list.func.add(name="f")
        case 0:
            value.i = number
        case 1:
            value.type = max(min(number, (1 << 31) - 1), -(1 << 31))
        case 2:
            value.s = chance.randbytes(chance.choice((0, 1, 40)))
        case 3:
            value.shape.dim.add(size=number)
        case 4:
            value.shape.unknown_rank = True
        case 5:
            value.tensor.dtype = chance.randrange(130)
            for _ in range(chance.choice((1, 3, 300))):
                value.tensor.tensor_shape.dim.add(size=number)
        case 6:
            value.list.SetInParent()
        case 7:
            value.list.i.extend([number] * chance.choice((1, 3, 1000)))
        case 8:
            value.list.shape.add().dim.add(size=number)


def damage_json(chance: random.Random, data: bytes, others: list[bytes]) -> bytes:
    """Blows to the text, or to the values in it."""
    if chance.random() < 0.4:
        return damage_bytes(chance, data, others)
    value = json.loads(data)
    for _ in range(chance.randint(1, 3)):
        places = list(_places(value))
        if not places:
            break
        container, key = chance.choice(places)
        match chance.randrange(4):
            case 0 | 1:
                container[key] = copy.deepcopy(chance.choice((*_VALUES, chance.choice(_HOSTILE))))
            case 2:
                del container[key]
            case 3 if isinstance(container, dict):
                container[chance.choice(("", "x", "event", "__class__"))] = copy.deepcopy(container[key])
    text = json.dumps(value)
    return ("[" * 100_000 if chance.random() < 0.002 else text).encode()


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _places(value[key])


def damage_arrays(chance: random.Random, data: bytes, others: list[bytes]) -> bytes:
    """Blows to the archive, or to an array in it, whose checksum is right then."""
    if chance.random() < 0.5:
        return damage_bytes(chance, data, others)
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(stream, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if chance.random() < 0.7:
                content = damage_bytes(chance, content, others)
            if chance.random() < 0.2:
                kind = chance.choice(("<f4", "|O", "<U9", "<i8", "|V0", "|S0"))
                shape = tuple(chance.choice(_HOSTILE) for _ in range(chance.randint(0, 3)))
                head = f"{{'descr': {kind!r}, 'fortran_order': False, 'shape': {shape!r}, }}"
                padded = head.ljust(117) + "\n"
                content = b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded.encode() + content[128:]
            new.writestr(chance.choice((name, name, "../../x.npy", "☃.npy", "x")), content)
    return stream.getvalue()
