"""Names and places stay exact in half precision, on every engine; measurements do not cost their speed."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.exact_cases import CASES, SCORES
from helpers.onnx_models import model, run
from icebreaker.engine import openvino_marks, registry
from icebreaker.engine.numbers.exactness import Network, Step, exact_nodes
from icebreaker.engine.numbers.fp16 import EXACT_PRODUCTS, to_half
from icebreaker.engine.segment_model import SegmentModel

_BF16 = registry.status("openvino").precisions.get("fp16") == "bf16"


def deviation(want: list[Any], got: list[Any]) -> float:
    """The largest difference, as a share of the output's range."""
    pairs = zip(want, got, strict=True)
    return max(float(np.abs(a.astype(float) - b).max() / max(np.abs(a).max(), 1e-9)) for a, b in pairs)


@pytest.mark.parametrize("name", CASES)
def test_names_and_places_are_exact_in_fp16(name: str) -> None:
    case = CASES[name]
    assert deviation(run(case.model(), *case.inputs), run(to_half(case.model()), *case.inputs)) < 5e-3


@pytest.mark.parametrize("name", {**CASES, **SCORES})
def test_names_and_places_are_exact_in_openvino(name: str) -> None:
    case = (CASES | SCORES)[name]  # pyright: ignore[reportOperatorIssue]
    runner: Any = registry.get("openvino").load(case.model(), "bf16" if _BF16 else "fp32")
    assert deviation(run(case.model(), *case.inputs), runner(case.inputs)) < (3e-2 if _BF16 else 1e-4)


@pytest.mark.parametrize("name", CASES)
def test_openvino_reads_the_marks_and_computes_the_same(name: str) -> None:
    import openvino

    case, core = CASES[name], openvino.Core()
    network = core.read_model(case.model(), b"")
    names = openvino_marks.exact_names(network)
    found = openvino_marks.marked(core, network, names)
    assert names, "something must be exact"
    assert names == {
        op.get_friendly_name() for op in found.get_ops() if "DisablePrecisionConversion_0" in op.get_rt_info()
    }
    compiled = openvino_marks.compile_exactly(core, found, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}, names)
    assert openvino_marks.is_heeded(compiled, names, {op.get_friendly_name() for op in found.get_ops()})
    got = list(compiled(list(case.inputs)).values())
    assert deviation(run(case.model(), *case.inputs), got) < 1e-4


@pytest.mark.parametrize("name", SCORES)
def test_measurements_stay_in_half(name: str) -> None:
    import openvino

    data = SCORES[name].model()
    half = onnx.load_from_string(to_half(data))
    assert not openvino_marks.exact_names(openvino.Core().read_model(data, b""))
    weights = {item.data_type for item in half.graph.initializer if len(item.dims) == 2}
    assert weights == {onnx.TensorProto.FLOAT16}, "the products work in FP16"


def test_a_model_tells_of_products_that_must_not_be_rounded() -> None:
    with_products, without = (
        onnx.load_from_string(to_half(CASES[name].model()))
        for name in ("ids of pairs, by a product", "ids that are cast")
    )
    assert [item.key for item in with_products.metadata_props] == [EXACT_PRODUCTS]
    assert not without.metadata_props


def test_int8_in_openvino_keeps_them_as_well() -> None:
    """What stays float in an INT8 model computes in bfloat16, where there is such a thing."""
    case = CASES["ids that are shifted and clipped"]
    runner: Any = registry.get("openvino").load(case.model(), "int8")
    assert deviation(run(case.model(), *case.inputs), runner(case.inputs)) < 3e-2


@pytest.mark.parametrize(
    ("text", "divisor", "is_refused"),
    [
        ("q = Div (x, d)\n y = Floor (q)", 41.0, True),
        ("q = Div (x, d)\n r = Mul (q, d)\n i = Cast <to = 7> (r)\n y = Cast <to = 1> (i)", 41.0, True),
        ("q = Div (x, d)\n a = Abs (q)\n y = Floor (a)", 41.0, True),
        ("q = Div (x, d)\n a = Abs (q)\n y = Floor (a)", 32.0, False),  # the reciprocal is exact
        ("y = Div (x, d)", 41.0, False),  # nothing hangs on the last digit
        ("q = Div (x, d)\n y = Sin (q)", 41.0, False),
        ("m = MatMul (x, w)\n q = Div (m, d)\n a = Abs (q)\n y = Floor (a)", 41.0, False),  # it is chance
    ],
)
def test_openvino_is_not_given_quotients_whose_last_digit_decides(text: str, divisor: float, is_refused: bool) -> None:
    data = model(f"net (float[N,8] x) => (float[N,8] y) {{ {text} }}", d=np.float32(divisor), w=np.eye(8, dtype="f4"))
    engine = registry.get("openvino")
    refused = engine.refusals(SegmentModel.of_onnx(data))
    assert len(refused) == is_refused, "the quotient, or the step behind it"
    x = np.arange(8000, dtype=np.float32).reshape(-1, 8)
    if not is_refused and "MatMul" not in text:
        runner: Any = engine.load(data, "fp32")
        np.testing.assert_allclose(runner([x])[0], run(data, x)[0], rtol=1e-5, atol=1e-4)


# Laws, on networks of any form.

_OPS = ["Add", "Cast", "Floor", "Gather", "Greater", "MatMul", "Mul", "Relu", "Sin", "ToInt"]


@st.composite
def networks(draw: st.DrawFn) -> Network:
    """A network of up to twelve nodes; even tensors are floats, odd ones integers."""
    floats, ints = ["f0", "f1"], ["i0"]
    steps: list[Step] = []
    for number in range(draw(st.integers(1, 12))):
        op, name = draw(st.sampled_from(_OPS)), f"n{number}"
        read = [draw(st.sampled_from(floats)) for _ in range(2)]
        if op in ("Floor", "Relu", "Sin"):
            steps.append(Step(name, op, (read[0],), (f"f{name}",)))
            floats.append(f"f{name}")
        elif op in ("ToInt", "Greater"):
            inputs = (read[0],) if op == "ToInt" else tuple(read)
            steps.append(Step(name, "Cast" if op == "ToInt" else op, inputs, (f"i{name}",)))
            ints.append(f"i{name}")
        elif op in ("Cast", "Gather"):
            index = draw(st.sampled_from(ints))
            steps.append(Step(name, op, (index,) if op == "Cast" else (read[0], index), (f"f{name}",)))
            floats.append(f"f{name}")
        else:
            steps.append(Step(name, op, tuple(read), (f"f{name}",)))
            floats.append(f"f{name}")
    return Network(steps, frozenset(floats), frozenset({"f1"}), frozenset(floats[-1:]))


@settings(max_examples=200, deadline=None)
@given(networks())
def test_what_an_exact_node_reads_is_exact_up_to_what_was_learned(network: Network) -> None:
    found = exact_nodes(network)
    makers = {name: step for step in network.steps for name in step.outputs}
    for step in network.steps:
        if step.name not in found:
            continue
        for name in step.inputs:
            maker = makers.get(name)
            is_float = name in network.floats and maker is not None
            if is_float and maker.op != "MatMul" and any(item not in network.constants for item in maker.inputs):
                assert maker.name in found, f"{step.name} reads {name}"


@settings(max_examples=200, deadline=None)
@given(networks())
def test_whole_numbers_that_come_from_floats_are_exact(network: Network) -> None:
    found = exact_nodes(network)
    for step in network.steps:
        if step.op in ("Cast", "Floor") and any(name in network.floats for name in step.inputs):
            assert step.name in found or _is_constant(network, step)


def _is_constant(network: Network, step: Step) -> bool:
    known = set(network.constants)
    for item in network.steps:
        if all(name in known for name in item.inputs):
            known.update(item.outputs)
    return set(step.outputs) <= known
