"""Layers of networks: convolutions, pooling, normalization, losses, activations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from op_conformance.graphs import Variant, op_def
from op_conformance.recipes.registry import allowed, arrays, recipe
from op_conformance.values import FLOATS, hard, is_float, numbers, numpy_type, small, with_specials

_PADDINGS = ("SAME", "VALID")


@recipe("Softmax", "LogSoftmax", of=FLOATS)
def _softmax(op: str, dtype: str) -> Iterator[Variant]:
    yield Variant("rows", [{"logits": np.resize(values, (3, 4))} for values in [small(dtype), *hard(dtype)]], atol=1e-6)
    for shape in ((4,), (2, 1, 3, 1, 2), (3, 1), (0, 4)):
        yield Variant(f"shape {shape}", [{"logits": np.resize(small(dtype), shape)}], atol=1e-6)


@recipe("LeakyRelu", of=FLOATS)
def _leaky(op: str, dtype: str) -> Iterator[Variant]:
    for alpha in (0.2, 0.0, 1.5, -0.5):
        yield Variant(f"{alpha}", [{"features": values} for values in arrays(dtype)], attributes={"alpha": alpha})


@recipe("BiasAdd", "BiasAddV1")
def _bias(op: str, dtype: str) -> Iterator[Variant]:
    if not allowed(op, dtype):
        return
    tables = [np.resize(values, (3, 4)) for values in [small(dtype), *hard(dtype)]]
    yield Variant("rows", [{"value": table, "bias": table[0]} for table in tables])
    yield Variant("constant", [{"value": table} for table in tables], {"bias": small(dtype)[2:6]})
    for shape in ((2, 3, 1, 4), (2, 1, 3, 2, 4)):
        yield Variant(f"rank {len(shape)}", [{"value": numbers(dtype, *shape), "bias": small(dtype)[2:6]}])
    if op == "BiasAdd":
        call = {"value": numbers(dtype, 2, 4, 3, 2), "bias": small(dtype)[2:6]}
        yield Variant("channels first", [call], attributes={"data_format": "NCHW"})


def _convolved(
    dtype: str, shape: tuple[int, ...], filters: np.ndarray, names: tuple[str, str] = ("input", "filter"), **given: Any
) -> Iterator[Variant]:
    """A convolution with what is told, once with open and once with known dimensions, and with a filter that is fed."""
    image, kernel = names
    label = " ".join(f"{key} {value}" for key, value in given.items())
    calls = [{image: values} for values in with_specials(dtype, *shape)]
    yield Variant(label, calls, {kernel: filters}, given, atol=1e-4)
    yield Variant(f"{label}, known", calls[:1], {kernel: filters}, given, atol=1e-4, is_open=False)
    yield Variant(f"{label}, fed", [{**calls[0], kernel: filters}], {}, given, atol=1e-4)


@recipe("Conv2D", "DepthwiseConv2dNative")
def _convolution(op: str, dtype: str) -> Iterator[Variant]:
    if not allowed(op, dtype):
        return
    shape, filters = (2, 7, 6, 3), numbers(dtype, 3, 2, 3, 2, seed=1)
    for padding in _PADDINGS:
        for stride in (1, 2):
            yield from _convolved(dtype, shape, filters, strides=[1, stride, stride, 1], padding=padding)
        yield from _convolved(
            dtype, shape, filters, strides=[1, 1, 1, 1], padding=padding, dilations=[1, 2, 2, 1]
        )  # fmt: skip
    edges = {"padding": "EXPLICIT", "explicit_paddings": [0, 0, 1, 2, 0, 3, 0, 0]}
    yield from _convolved(dtype, shape, filters, strides=[1, 1, 2, 1], **edges)
    if op == "Conv2D":
        yield from _convolved(dtype, (2, 5, 5, 4), numbers(dtype, 3, 3, 2, 6), strides=[1, 1, 1, 1], padding="SAME")
    yield from _convolved(dtype, (1, 1, 1, 3), numbers(dtype, 1, 1, 3, 2), strides=[1, 1, 1, 1], padding="VALID")


@recipe("Conv3D")
def _convolution_of_volumes(op: str, dtype: str) -> Iterator[Variant]:
    if not allowed(op, dtype):
        return
    for padding in _PADDINGS:
        for stride in (1, 2):
            yield from _convolved(
                dtype, (1, 5, 4, 6, 2), numbers(dtype, 3, 2, 2, 2, 3, seed=1),
                strides=[1, stride, stride, 1, 1], padding=padding,
            )  # fmt: skip


@recipe("Conv2DBackpropInput", "Conv3DBackpropInputV2")
def _transposed(op: str, dtype: str) -> Iterator[Variant]:
    if not allowed(op, dtype):
        return
    rank = 2 if op == "Conv2DBackpropInput" else 3
    filters = numbers(dtype, *[3, 2, 2][:rank], 2, 3, seed=1)
    for padding in _PADDINGS:
        for stride in (1, 2):
            spread = [4 * stride if padding == "SAME" else 3 * stride + side + stride // 2 for side in [3, 2, 2][:rank]]
            sizes: Any = np.int32([2, *spread, 2])
            attributes = {"strides": [1, *[stride] * rank, 1], "padding": padding}
            calls = [{"out_backprop": values} for values in with_specials(dtype, 2, *[4] * rank, 3)]
            label = f"{padding} {stride}"
            yield Variant(label, calls, {"input_sizes": sizes, "filter": filters}, attributes, atol=1e-4)
            yield Variant(
                f"{label}, known", calls[:1], {"input_sizes": sizes, "filter": filters}, attributes, atol=1e-4,
                is_open=False,
            )  # fmt: skip
            computed = [{**calls[0], "input_sizes": sizes}]
            yield Variant(f"{label}, computed", computed, {"filter": filters}, attributes, atol=1e-4)


@recipe("MaxPool", "AvgPool", "MaxPool3D", "AvgPool3D", "MaxPoolV2", "MaxPoolWithArgmax")
def _pooling(op: str, dtype: str) -> Iterator[Variant]:
    if not allowed(op, dtype):
        return
    is_volume, name = op.endswith("3D"), op_def(op).input_arg[0].name
    shape = (1, 5, 4, 6, 2) if is_volume else (2, 7, 6, 3)
    if is_float(dtype):
        tables = with_specials(dtype, *shape)
    else:
        tables = [np.resize(values, shape) for values in [small(dtype), *hard(dtype)]]
    tables.append(np.zeros(shape, numpy_type(dtype)))  # all alike: which is the first?
    calls = [{name: table} for table in tables]
    attributes: dict[str, Any] = {}
    constants: dict[str, Any] = {}
    for padding in _PADDINGS:
        for size, stride in ((2, 2), (3, 1), (2, 3)):
            window = [1, size, 2, *([2] * is_volume), 1]
            steps = [1, stride, 1, *([2] * is_volume), 1]
            attributes = {"padding": padding}
            constants = {}
            if op == "MaxPoolV2":
                constants = {"ksize": np.int32(window), "strides": np.int32(steps)}
            else:
                attributes |= {"ksize": window, "strides": steps}
            label = f"{padding}, {size} by {stride}"
            yield Variant(label, calls, constants, attributes, atol=1e-5)
            if op == "MaxPoolWithArgmax":
                attributes["include_batch_in_index"] = True
                yield Variant(f"{label}, of the batch", calls, constants, attributes)
    yield Variant("known", calls[:1], constants, attributes, atol=1e-5, is_open=False)


@recipe("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3", of=FLOATS)
def _normalization(op: str, dtype: str) -> Iterator[Variant]:
    kind = "float32" if op != "FusedBatchNorm" else dtype
    four = {
        "scale": numbers(kind, 3), "offset": numbers(kind, 3, seed=1), "mean": numbers(kind, 3, seed=2),
        "variance": np.abs(numbers(kind, 3, seed=3)),
    }  # fmt: skip
    calls = [{"x": values} for values in with_specials(dtype, 2, 4, 3, 3)]
    for epsilon in (1e-3, 0.0):
        attributes = {"is_training": False, "epsilon": epsilon}
        yield Variant(f"{epsilon}", calls, four, attributes, atol=1e-4, ports=(0,))
    yield Variant("computed", [{**calls[0], **four}], {}, {"is_training": False}, atol=1e-4, ports=(0,))
    if op.endswith("V3"):
        volume = [{"x": numbers(dtype, 1, 2, 4, 3, 3)}]
        yield Variant(
            "volume", volume, four, {"is_training": False, "data_format": "NDHWC"}, atol=1e-4, ports=(0,)
        )  # fmt: skip
    none = {"mean": np.zeros(0, numpy_type(kind)), "variance": np.zeros(0, numpy_type(kind))}
    yield Variant("training", calls[:1], {**four, **none}, {"is_training": True}, atol=1e-4, ports=(0, 1, 2))


@recipe("LRN", of=FLOATS)
def _local_response(op: str, dtype: str) -> Iterator[Variant]:
    calls = [{"input": values} for values in with_specials(dtype, 2, 3, 2, 7)]
    for radius, bias, alpha, beta in ((5, 1.0, 1.0, 0.5), (2, 2.0, 1e-4, 0.75), (1, 1.0, 0.3, 1.0)):
        given = {"depth_radius": radius, "bias": bias, "alpha": alpha, "beta": beta}
        yield Variant(f"{radius}", calls, attributes=given, atol=1e-5)


@recipe("SoftmaxCrossEntropyWithLogits", of=FLOATS)
def _cross_entropy(op: str, dtype: str) -> Iterator[Variant]:
    logits, labels = [np.resize(values, (3, 4)) for values in (small(dtype), np.eye(4, 4))]
    calls = [{"features": logits, "labels": labels.astype(numpy_type(dtype))}]
    calls += [{"features": np.resize(values, (3, 4)), "labels": calls[0]["labels"]} for values in hard(dtype)]
    yield Variant("rows", calls, atol=1e-5)


@recipe("SparseSoftmaxCrossEntropyWithLogits", of=FLOATS)
def _sparse_cross_entropy(op: str, dtype: str) -> Iterator[Variant]:
    logits = np.resize(small(dtype), (3, 4))
    for kind in ("int32", "int64"):
        calls = [{"features": logits, "labels": np.array(labels, kind)} for labels in ([0, 3, 1], [2, 2, 2], [0, 9, 1])]
        calls += [{"features": np.resize(values, (3, 4)), "labels": calls[0]["labels"]} for values in hard(dtype)]
        yield Variant(kind, calls, atol=1e-5)


@recipe("LSTMBlockCell", of=("float32", "float16"))
def _lstm_cell(op: str, dtype: str) -> Iterator[Variant]:
    weights = {"w": numbers(dtype, 7, 16, seed=1), "b": numbers(dtype, 16, seed=2)}
    weights |= {name: numbers(dtype, 4, seed=3) for name in ("wci", "wcf", "wco")}
    call = {"x": numbers(dtype, 2, 3), "cs_prev": numbers(dtype, 2, 4), "h_prev": numbers(dtype, 2, 4, seed=4)}
    for given in ({"cell_clip": -1.0}, {"cell_clip": 0.3}, {"use_peephole": True}, {"forget_bias": 0.5}):
        yield Variant(str(given), [call], weights, given, atol=1e-4)
