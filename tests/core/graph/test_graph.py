import pytest
from hypothesis import given
from hypothesis import strategies as st

from icebreaker.errors import IcebreakerError
from icebreaker.graph.graph import Graph, Placeholder, TensorValue
from icebreaker.graph.protos import GraphDef
from icebreaker.tensors import Tensor, canonical

FLOAT, INT32, STRING, RESOURCE = 1, 3, 7, 20


def make(*nodes, producer=1000):
    """A graph of (name, op, inputs) or (name, op, inputs, {attribute: dtype number or shape tuple})."""
    definition = GraphDef()
    definition.versions.producer = producer
    for name, op, inputs, *attrs in nodes:
        node = definition.node.add(name=name, op=op, input=inputs)
        for key, value in (attrs[0] if attrs else {}).items():
            if isinstance(value, int):
                node.attr[key].type = value
            elif value is None:
                node.attr[key].shape.unknown_rank = True
            else:
                node.attr[key].shape.SetInParent()
                for size in value:
                    node.attr[key].shape.dim.add(size=size)
    return Graph(definition)


def placeholder(name, shape, dtype=FLOAT, op="Placeholder", inputs=()):
    return (name, op, inputs, {"dtype": dtype, "shape": shape})


@pytest.mark.parametrize("name", ["a", "a:0", "^a", "^a:0", " a ", "a:00"])
def test_every_spelling_of_a_name(name):
    assert canonical(name) == "a"
    assert Tensor.parse(name) == Tensor("a", 0)


def test_ports_and_scopes():
    assert canonical("scope/split:1") == "scope/split:1"
    assert Tensor.parse("a:b:2") == Tensor("a:b", 2)


@pytest.mark.parametrize("name", ["", " ", "^", ":0", "a:", "a:b", "a:-1", "a:1.0", "a:²", "a:٣"])
def test_what_is_no_name(name):
    with pytest.raises(IcebreakerError, match="is not a tensor name"):
        canonical(name)


@given(st.from_regex(r"[A-Za-z0-9.][A-Za-z0-9_.\\/>-]*", fullmatch=True), st.integers(0, 99))
def test_canonical_names_are_stable(node, port):
    name = canonical(f"{node}:{port}")
    assert canonical(name) == name
    assert Tensor.parse(name) == Tensor(node, port)
    assert canonical(f"^{name}") == name


def test_edges():
    graph = make(("a", "Const", []), ("split", "Split", ["a:0"]), ("c", "Relu", ["split:1", "^a"]))
    assert graph["c"].inputs == (Tensor("split", 1),) and graph["c"].controls == ("a",)
    assert graph.consumers == {"a": ("split", "c"), "split": ("c",), "c": ()}
    assert graph.ancestors(["c"]) == {"a", "split", "c"} and graph.descendants(["split"]) == {"split", "c"}
    assert len(graph) == 3 and "a" in graph and "z" not in graph
    assert list(graph.op_counts) == ["Const", "Relu", "Split"]


@pytest.mark.parametrize("name", ["missing", "^missing", "missing:1", "a:²"])
def test_edges_that_lead_nowhere(name):
    with pytest.raises(IcebreakerError, match=r"node 'b' reads '.+', which is not in the graph"):
        make(("a", "Const", []), ("b", "Relu", [name]))


def test_names_that_occur_twice():
    with pytest.raises(IcebreakerError, match="node 'a' occurs twice"):
        make(("a", "Const", []), ("b", "Const", []), ("a", "Relu", ["b"]))


def test_placeholders():
    graph = make(
        placeholder("picture", (-1, 224, 224, 3)),
        placeholder("anything", None),
        placeholder("keep", ()),
        ("one", "Const", []),
        placeholder("training", (), 10, "PlaceholderWithDefault", ["one"]),
        ("old", "Placeholder", [], {"dtype": STRING}),
    )
    assert graph.placeholders == (
        Placeholder("picture", "float32", (None, 224, 224, 3)),
        Placeholder("anything", "float32", None),
        Placeholder("keep", "float32", ()),
        Placeholder("training", "bool", (), optional=True),
        Placeholder("old", "string", None),
    )


def test_an_empty_shape_meant_unknown_once():
    assert make(placeholder("x", ()), producer=21).placeholders[0].shape is None
    assert make(placeholder("x", (2,)), producer=21).placeholders[0].shape == (2,)


def test_outputs_are_sinks_that_carry_data():
    graph = make(
        placeholder("x", None),
        ("logits", "MatMul", ["x"]),
        ("label", "ArgMax", ["logits"]),
        ("score", "Max", ["logits"]),
        ("assert", "Assert", ["score"]),
        ("score_out", "Identity", ["score", "^assert"]),
        ("done", "NoOp", ["^label"]),
        ("constant", "Const", []),
        ("unfed", "Neg", ["constant"]),
        ("table", "HashTableV2", [], {"dtype": RESOURCE}),
        placeholder("unused", None),
    )
    assert graph.candidate_outputs == ("label", "score_out")


def test_a_graph_without_inputs_offers_its_other_sinks():
    assert make(("a", "Const", []), ("b", "Neg", ["a"])).candidate_outputs == ("b",)
    assert make(("a", "Const", [])).candidate_outputs == ()
    assert make(placeholder("x", None), ("check", "Assert", ["x"])).candidate_outputs == ()


def test_a_noop_in_the_middle_is_a_reader():
    graph = make(placeholder("x", None), ("a", "Neg", ["x"]), ("wait", "NoOp", ["^a"]), ("b", "Abs", ["x", "^wait"]))
    assert graph.candidate_outputs == ("b",)


def test_control_flow():
    assert not make(("a", "Const", [])).has_control_flow
    assert make(("a", "Const", []), ("s", "Switch", ["a", "a"])).has_control_flow
    assert make(("a", "Const", []), ("w", "StatelessWhile", ["a"])).has_control_flow
    definition = GraphDef()
    definition.node.add(name="f", op="PartitionedCall")
    definition.library.function.add().node_def.add(name="loop", op="While")
    assert Graph(definition).has_control_flow


def test_attributes_as_plain_values():
    definition = GraphDef()
    node = definition.node.add(name="n", op="Any")
    node.attr["s"].s = "ä".encode()
    node.attr["raw"].s = b"\xff"
    node.attr["i"].i = -3
    node.attr["flag"].b = True
    node.attr["t"].type = 101  # a reference to float32
    node.attr["odd"].type = 99
    node.attr["strides"].list.i.extend([1, 2])
    node.attr["types"].list.type.extend([1, 9])
    node.attr["none"].list.SetInParent()
    node.attr["f"].func.name = "body"
    node.attr["unset"].SetInParent()
    attrs = Graph(definition)["n"].attrs
    assert dict(attrs) == {
        "s": "ä", "raw": b"\xff", "i": -3, "flag": True, "t": "float32", "odd": "type 99", "strides": [1, 2],
        "types": ["float32", "int64"], "none": [], "f": {"function": "body"}, "unset": None,
    }  # fmt: skip
    assert Graph(definition)["n"].functions == ("body",)


def test_constants():
    definition = GraphDef()
    node = definition.node.add(name="weights", op="Const")
    node.attr["value"].tensor.dtype = FLOAT
    for size in (3, 3, 8):
        node.attr["value"].tensor.tensor_shape.dim.add(size=size)
    definition.node.add(name="text", op="Const").attr["value"].tensor.dtype = STRING
    graph = Graph(definition)
    assert graph["weights"].value == TensorValue("float32", (3, 3, 8))
    assert graph.constant_bytes == 288
    body = definition.library.function.add().node_def
    body.add(name="inner", op="Const").CopyFrom(node)
    beside = body.add(name="beside", op="ImmutableConst")
    beside.attr["dtype"].type = FLOAT
    for size in (5, 2):
        beside.attr["shape"].shape.dim.add(size=size)
    assert Graph(definition).constant_bytes == 288 + 288 + 40


def test_weights_are_what_only_weight_slots_read():
    def const(name, dtype=FLOAT):
        return (name, "Const", (), {"dtype": dtype})

    graph = make(
        placeholder("x", (None, 4)), const("w"), ("read", "Identity", ["w"]), ("again", "Identity", ["read"]),
        const("first"), const("summed"), const("whole", INT32), const("waited_for"), const("round"),
        ("a", "MatMul", ["x", "again", "^waited_for"]), ("b", "MatMul", ["first", "x"]),
        ("c", "Conv2D", ["x", "first"]), ("d", "MatMul", ["x", "summed"]), ("e", "Identity", ["summed"]),
        ("f", "Sum", ["e"]), ("g", "MatMul", ["x", "whole"]), ("h", "Identity", ["round", "i"]),
        ("i", "Identity", ["h"]), ("j", "Sum", ["i"]),
    )  # fmt: skip
    for node in graph:
        if node.op == "Const":
            node.definition.attr["value"].tensor.dtype = node.definition.attr["dtype"].type
    assert graph.weights == {"w"}


def test_weights_of_many_constants():
    definition = GraphDef()
    for k in range(20_000):
        definition.node.add(name=f"c{k}", op="Const").attr["value"].tensor.dtype = 1
    definition.node.add(name="sum", op="AddN", input=[f"c{k}" for k in range(20_000)])
    assert not Graph(definition).weights  # were each looked for among all, this would take minutes


def test_require_proposes_names():
    graph = make(placeholder("image", None), ("logits", "Neg", ["image"]))
    assert graph.require("^logits:0") == Tensor("logits")
    with pytest.raises(IcebreakerError, match=r"output 'logit' is not in the graph: did you mean logits"):
        graph.require("logit", "output")
    with pytest.raises(IcebreakerError, match="did you mean logits"):
        graph.require("zzz")
