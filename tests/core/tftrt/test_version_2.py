"""TF-TRT's interface of TensorFlow 2: a script of 2020 runs with another import line; calls are checked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import icebreaker
from icebreaker import tftrt as trt
from icebreaker.errors import IcebreakerError

# As NVIDIA's guide had it; only the import of `trt` and the engine, for the test's sake, are new.
SCRIPT = """
import sys
import numpy as np
import tensorflow as tf
from icebreaker import tftrt as trt
from tensorflow.python.saved_model import tag_constants, signature_constants
from tensorflow.python.framework import convert_to_constants

folder, mode = sys.argv[1:]

class Net(tf.Module):
    def __init__(self):
        random = np.random.RandomState(0)
        self.first = tf.Variable(random.randn(3, 3, 3, 8).astype("f4") / 4)
        self.second = tf.Variable(random.randn(3, 3, 8, 8).astype("f4") / 4)
        self.scores = tf.Variable(random.randn(8, 5).astype("f4"))

    @tf.function(input_signature=[
        tf.TensorSpec([None, 12, 12, 3], name="image"), tf.TensorSpec([None, 1], name="scale")])
    def serve(self, image, scale):
        x = tf.nn.relu(tf.nn.conv2d(image, self.first, 1, "SAME"))
        x = tf.nn.relu(tf.nn.conv2d(x, self.second, 2, "SAME"))
        return {"scores": tf.matmul(tf.reduce_mean(x, [1, 2]), self.scores) * scale}

net = Net()
tf.saved_model.save(net, folder + "/in", signatures={"serving_default": net.serve})

conversion_params = trt.DEFAULT_TRT_CONVERSION_PARAMS
conversion_params = conversion_params._replace(max_workspace_size_bytes=(1 << 32))
conversion_params = conversion_params._replace(precision_mode=mode)
conversion_params = conversion_params._replace(maximum_cached_engines=100)

converter = trt.TrtGraphConverterV2(
    input_saved_model_dir=folder + "/in", conversion_params=conversion_params, engine="openvino")

def my_input_fn():
    random = np.random.RandomState(1)
    for _ in range(8):
        yield random.rand(8, 12, 12, 3).astype(np.float32), np.ones((8, 1), np.float32)

if mode == "INT8":
    func = converter.convert(calibration_input_fn=my_input_fn)
else:
    func = converter.convert()
    converter.build(input_fn=my_input_fn)
converter.summary()
converter.save(folder + "/out")

image, scale = next(iter(my_input_fn()))
wanted = net.serve(image, scale)["scores"].numpy()
tolerance = {"FP32": 1e-5, "INT8": 1e-1}[mode] * np.abs(wanted).max()  # as TF-TRT's own tests had it
live = func(tf.constant(image), tf.constant(scale))["scores"].numpy()
assert np.abs(live - wanted).max() <= tolerance, (np.abs(live - wanted).max(), tolerance)
assert mode == "FP32" or np.abs(live - wanted).max() > 0

saved_model_loaded = tf.saved_model.load(folder + "/out", tags=[tag_constants.SERVING])
graph_func = saved_model_loaded.signatures[signature_constants.DEFAULT_SERVING_SIGNATURE_DEF_KEY]
frozen_func = convert_to_constants.convert_variables_to_constants_v2(graph_func)
output = frozen_func(tf.constant(image), tf.constant(scale))[0].numpy()
assert np.abs(output - wanted).max() <= 1e-5 * np.abs(wanted).max()
"""


class Net:
    """A SavedModel with two matrix products between an input and an output."""

    @staticmethod
    def save(folder: Path) -> None:
        import tensorflow as tf

        net: Any = tf.Module()
        net.v = tf.Variable(np.random.default_rng(0).normal(size=(8, 8)).astype(np.float32))

        @tf.function(input_signature=[tf.TensorSpec([None, 8], name="x")])
        def serve(x: Any) -> Any:
            return {"y": tf.nn.relu(tf.matmul(tf.nn.relu(tf.matmul(x, net.v)), net.v))}

        tf.saved_model.save(net, str(folder), signatures={"serving_default": serve})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("v2") / "in"
    Net.save(place)
    return place


@pytest.mark.parametrize(("mode", "precision"), [("FP32", "fp32"), ("INT8", "int8")])
def test_a_script_from_2020(mode: str, precision: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run([sys.executable, str(script), str(tmp_path), mode], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Total number of engines: 1" in done.stdout and "Conv2D: 2x" in done.stdout, done.stdout
    assert f"TRTEngineOp_000   openvino  {precision} " in done.stdout, done.stdout
    assert set(icebreaker.load(tmp_path / "out", fallback=False).engines.values()) == {"openvino"}


def test_what_convert_gives_is_called_as_the_signature_was(folder: Path, tmp_path: Path) -> None:
    import tensorflow as tf

    x = np.random.default_rng(1).random((4, 8), np.float32)
    wanted = tf.saved_model.load(str(folder)).signatures["serving_default"](x=tf.constant(x))["y"].numpy()
    converter = trt.TrtGraphConverterV2(str(folder), use_dynamic_shape=True, minimum_segment_size=2, engine="openvino")
    with pytest.raises(ValueError, match="after convert"):
        converter.build(lambda: iter([x]))
    with pytest.raises(ValueError, match="after convert"):
        converter.summary()
    with pytest.raises(ValueError, match="after convert"):
        converter.save(str(tmp_path / "early"))
    function = converter.convert()
    for found in (function(tf.constant(x)), function(x=tf.constant(x))):
        np.testing.assert_allclose(found["y"], wanted, rtol=1e-5)
    assert function.structured_outputs["y"].dtype == tf.float32
    for inputs in (lambda: iter([{"z": x}]), lambda: iter([(x, x)]), list):
        with pytest.raises(ValueError, match="the input function gives"):
            converter.build(inputs)
    converter.build(lambda: iter([(x,), [x[:2]], {"x": x[:1]}, tf.constant(x).numpy()]))
    assert converter._settings.profiles == {"x": ((1, 8), (4, 8), (4, 8))}
    lines: list[str] = []
    converter.summary(line_length=60, detailed=False, print_fn=lines.append)
    assert lines[0].startswith("TRTEngineOp Name  Engine") and max(map(len, lines)) <= 60
    with pytest.raises(ValueError, match="convert\\(\\) was called already"):
        converter.convert()
    with pytest.warns(trt.ConversionWarning, match="options"):
        converter.save(tmp_path / "out", save_gpu_specific_engines=False, options=tf.saved_model.SaveOptions())
    assert not icebreaker.load(tmp_path / "out").engines
    np.testing.assert_allclose(icebreaker.load(tmp_path / "out")(x=x)["y"], wanted, rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"input_saved_model_dir": None}, "input_saved_model_dir is None"),
        ({"precision_mode": "FP8"}, "precision_mode 'FP8' is unknown: choose FP32, FP16 or INT8"),
        ({"minimum_segment_size": 0}, "minimum segment size 0"),
        ({"max_workspace_size_bytes": -1}, "workspace -1"),
        ({"engine": "warp"}, "warp"),
        ({"dynamic_shape_profile_strategy": "Wide"}, "'Wide' is unknown: choose Range, Optimal"),
        ({"conversion_params": trt.DEFAULT_TRT_CONVERSION_PARAMS._replace(precision_mode="FP8")}, "FP8"),
        ({"conversion_params": trt.TrtConversionParams(max_batch_size=0)}, "max batch size 0"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        icebreaker.TrtGraphConverterV2(**{"input_saved_model_dir": "folder"} | arguments)
    assert isinstance(caught.value, IcebreakerError) and "\n" not in str(caught.value)


def test_calls_that_cannot_be_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no saved_model"):
        trt.TrtGraphConverterV2(str(tmp_path)).convert()
    with pytest.raises(ValueError, match="calibration_input_fn is missing, which INT8 needs"):
        trt.TrtGraphConverterV2(str(folder), precision_mode="int8").convert()
    with pytest.raises(ValueError, match="calibration_input_fn is for precision_mode INT8"):
        trt.TrtGraphConverterV2(str(folder)).convert(calibration_input_fn=list)
    with pytest.raises(ValueError, match="the input function gives no inputs"):
        trt.TrtGraphConverterV2(str(folder), precision_mode="int8").convert(list)


def test_parameters_are_those_of_every_version() -> None:
    params = trt.DEFAULT_TRT_CONVERSION_PARAMS._replace(
        is_dynamic_op=False, max_batch_size=8, rewriter_config_template=None, allow_build_at_runtime=False
    )
    assert params.max_batch_size == 8 and params.precision_mode == trt.TrtPrecisionMode.FP32
    assert "fp16" in trt.TrtPrecisionMode.supported_precision_modes()
    assert "Range+Optimal" in trt.supported_profile_strategies()
    assert trt.TrtGraphConverterV2("folder", None, None, params)._settings.max_batch_size == 8  # as in TensorFlow 2.0
