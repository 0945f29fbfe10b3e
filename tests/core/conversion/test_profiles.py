"""Shapes that the user gives for open dimensions: what engines are built for, checked at, and run at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import icebreaker
from icebreaker.conversion.engine_selection import engine_calls, segment_forms
from icebreaker.conversion.pipeline import convert
from icebreaker.engine import protocol, registry
from icebreaker.engine.protocol import BuildOptions
from icebreaker.errors import IcebreakerError
from icebreaker.export.exporter import Exported
from icebreaker.reports import Conversion
from icebreaker.settings import ConvertSettings

PROFILE = {"x": ((1, 16, 24, 4), (2, 32, 32, 4), (4, 64, 48, 4))}
SETTINGS = ConvertSettings.of(engine="openvino", profiles=PROFILE, outputs=("scores", "small"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Open in batch, height and width; an op without converter (Digamma) halves the sizes' way to the segment."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    random = np.random.default_rng(0)
    kernel = tf.constant(random.normal(size=(3, 3, 4, 8)).astype(np.float32))

    def body(x: Any, scale: Any) -> Any:
        a = tf.math.digamma(x[:, ::2, ::2] + 1.5, name="digamma")
        b = tf.nn.relu(tf.nn.conv2d(a, kernel, 1, "SAME", name="conv") * scale, name="relu")
        b = tf.nn.max_pool2d(b, 2, 2, "SAME", name="pool")
        small = tf.reduce_mean(b, [1, 2], name="mean")
        return tf.nn.softmax(small, name="scores"), tf.identity(b, name="small")

    specs = tf.TensorSpec((None, None, None, 4), tf.float32, "x"), tf.TensorSpec((), tf.float32, "scale")
    definition = convert_variables_to_constants_v2(tf.function(body).get_concrete_function(*specs)).graph.as_graph_def()
    path = tmp_path_factory.mktemp("open") / "open.pb"
    path.write_bytes(definition.SerializeToString())
    return path


def beside_speed(report: Conversion) -> list[Any]:
    """Warnings, but for that a segment is not faster, which a busy machine decides, and that it is busy."""
    return [item for item in report.warnings if getattr(item, "code", "") not in ("segment_not_faster", "machine_busy")]


def observed_builds(monkeypatch: pytest.MonkeyPatch, name: str) -> list[BuildOptions]:
    """What the real engine of that name is asked to build from now on."""
    seen: list[BuildOptions] = []
    kind: Any = type(registry.get(name))
    build = kind.build

    def watched(self: Any, model: bytes, options: BuildOptions) -> protocol.Built:
        seen.append(options)
        return build(self, model, options)

    monkeypatch.setattr(kind, "build", watched)
    return seen


@pytest.mark.parametrize("name", ["openvino", "tensorrt-rtx"])
def test_a_segments_profile_follows_from_the_inputs(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    if not registry.status(name).builds:
        pytest.skip(f"{name} does not build here")
    seen = observed_builds(monkeypatch, name)
    report = convert(
        model, tmp_path / "o.pb", ConvertSettings.of(engine=name, profiles=PROFILE, outputs=SETTINGS.outputs)
    )
    (segment,) = report.segments
    assert "digamma" not in " ".join(segment.nodes).split() and segment.engine == name
    by_rank = {len(profile[0]): profile for profile in seen[0].profiles.values()}
    assert by_rank[4] == ((1, 8, 12, 4), (2, 16, 16, 4), (4, 32, 24, 4)), "half of each side"
    assert by_rank[0] == ((), (), ())


def test_the_engine_is_right_at_every_shape_of_the_profile(model: Path, tmp_path: Path) -> None:
    optimized = tmp_path / "o.pb"
    report = convert(model, optimized, SETTINGS)
    assert report.segments and not beside_speed(report), report.warnings
    fast, plain = icebreaker.load(optimized, fallback=False), icebreaker.load(model)
    assert len(plain.outputs) == len(fast.outputs) == 2
    assert fast.engines
    for shape in (*PROFILE["x"], (3, 20, 40, 4)):
        value = np.random.default_rng(1).random(shape, np.float32)
        have, want = fast(x=value, scale=2.0), plain(x=value, scale=2.0)
        for found, expected in zip(have.values(), want.values(), strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_data_is_cut_or_repeated_to_the_profile(model: Path, tmp_path: Path) -> None:
    data = tmp_path / "d.npz"
    np.savez(data, x=np.random.default_rng(2).random((3, 30, 30, 4), np.float32), scale=np.float32(3))
    report = convert(model, tmp_path / "o.pb", replace(SETTINGS, data=str(data)))
    assert report.segments and not beside_speed(report), report.warnings


@pytest.mark.filterwarnings("ignore:engine TRTEngineOp_000")
def test_an_engine_that_is_wrong_at_an_end_of_the_profile_keeps_to_the_usual_shapes(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind: Any = type(registry.get("openvino"))
    load = kind.load

    def odd(self: Any, payload: bytes, precision: str) -> protocol.Runner:
        run = load(self, payload, precision)

        def wrong(inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
            results = run(inputs)
            return [item + 1 for item in results] if results[0].shape[0] == 4 else results

        return wrong

    monkeypatch.setattr(kind, "load", odd)
    report = convert(model, tmp_path / "o.pb", SETTINGS)
    assert report.segments and any("at other shapes of the profile" in text for text in map(str, report.warnings))


@pytest.mark.parametrize(
    ("profiles", "words", "batch"),
    [
        (
            {"y": ((1,), (1,), (1,))},
            "there is a profile for 'y', which is no input that the outputs need: those are",
            1,
        ),
        ({"x": ((1, 8, 4), (1, 8, 4), (2, 8, 4))}, "does not fit the graph's shape ?×?×?×4", 1),
        ({"x": ((1, 8, 8, 1), (1, 8, 8, 2), (1, 8, 8, 4))}, "does not fit the graph's shape ?×?×?×4", 1),
        (PROFILE, "the profile of x ends at batch 4, and the max batch size is 32", 32),
    ],
)
def test_profiles_that_do_not_fit_are_told_at_once(
    model: Path, tmp_path: Path, profiles: Any, words: str, batch: int
) -> None:
    asked = ConvertSettings.of(engine="openvino", profiles=profiles, outputs=("scores",), max_batch_size=batch)
    with pytest.raises(IcebreakerError) as raised:
        convert(model, tmp_path / "o.pb", asked)
    assert words in str(raised.value)
    assert not (tmp_path / "o.pb").exists()


def test_shapes_at_which_the_graph_does_not_run_are_named(tmp_path: Path) -> None:
    import tensorflow as tf

    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, (None, None), "x")
        tf.nn.relu(tf.reshape(tf.nn.softmax(x), (-1, 6)) + 1.0, name="y")
    path = tmp_path / "six.pb"
    path.write_bytes(graph.as_graph_def().SerializeToString())
    asked = ConvertSettings.of(engine="openvino", profiles={"x": ((1, 6), (2, 6), (1 << 4, 7))})
    with pytest.raises(IcebreakerError, match=r"at the largest shapes of the profile, .*x"):
        convert(path, tmp_path / "o.pb", asked)


def test_names_that_the_converter_made_up_lead_to_original_nodes() -> None:
    from onnx import parser

    text = """<ir_version: 9, opset_import: ["" : 18]>
    net (float[2] x) => (float[2] y) { a = Neg (x)  b = Abs (a)  c = Exp (b)  y = Neg (c)  z = Neg (y) }"""
    proto = parser.parse_model(text)
    proto.graph.node[2].output[0] = proto.graph.node[3].input[0] = "tf/exp:0"
    for node, name in zip(proto.graph.node, ("Neg__1", "Abs__2", "Exp__3", "tf/neg", "Neg__4"), strict=True):
        node.name = name
    exported = Exported(proto.SerializeToString(), ("x",), ("y",), {}, {"tf/neg": "tf/neg"})
    owners = segment_forms.onnx_owners(
        exported, ["Neg__1", "Exp__3", "tf/neg", "Neg__4"], frozenset({"tf/exp", "tf/neg"})
    )
    assert owners == {"Neg__1": "tf/exp", "Exp__3": "tf/exp"}


@pytest.mark.parametrize(
    ("shape", "seen", "most", "profile"),
    [
        ((None, 8), [(4, 8), (1, 8)], 4, ((1, 8), (4, 8), (4, 8))),
        ((None, 8), [(1, 8)], 1, ((1, 8), (1, 8), (1, 8))),
        ((None, 8), [(32, 8), (16, 8)], 2, ((1, 8), (32, 8), (32, 8))),  # windows of pictures: no batch
        ((7, None), [(7, 4), (7, 1)], 4, ((7, 1), (7, 4), (7, 4))),  # time before batch
        ((), [()], 4, ((), (), ())),
        ((None,), [(2,), (1,), (9,)], 0, ((1,), (2,), (9,))),
    ],
)
def test_profiles_from_what_was_seen(shape: Any, seen: Any, most: int, profile: Any) -> None:
    assert engine_calls.optimization_profile(shape, seen, most) == profile
