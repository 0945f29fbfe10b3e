"""Pictures: cutting, resizing, colours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from op_conformance.graphs import Variant, op_def
from op_conformance.recipes.registry import allowed, recipe
from op_conformance.values import numbers, with_specials


@recipe("CropAndResize", of=("float32", "uint8", "int32", "float64", "int64"))
def _crop(op: str, dtype: str) -> Iterator[Variant]:
    pictures = np.random.default_rng(0).integers(0, 200, (2, 7, 5, 3)).astype(dtype)
    boxes: Any = np.float32(
        [[0, 0, 1, 1], [0.1, 0.2, 0.7, 0.9], [0.9, 0.8, 0.1, 0.2], [-0.3, 0.2, 1.4, 1.2], [0.5, 0.5, 0.5, 0.5]]
    )
    which: Any = np.int32([0, 1, 1, 0, 1])
    calls = [{"image": pictures, "boxes": boxes[:n], "box_ind": which[:n]} for n in (2, 5, 0)]
    for method in ("bilinear", "nearest"):
        for size in ([4, 4], [1, 3], [7, 5]):
            yield Variant(
                f"{method} {size}", calls, {"crop_size": np.int32(size)},
                {"method": method, "extrapolation_value": 7.0}, atol=2e-3,
            )  # fmt: skip


@recipe("AdjustSaturation", "AdjustHue", "AdjustContrastv2", of=("float32", "float16"))
def _adjust(op: str, dtype: str) -> Iterator[Variant]:
    picture = np.random.default_rng(0).random((2, 3, 4, 3)).astype(dtype)
    picture[0, 0] = picture[0, 0, :, :1]  # grey: equal channels
    factor = op_def(op).input_arg[1].name
    yield Variant("pictures", [{"images": picture}], {factor: np.float32(0.3)}, atol=1e-4)


@recipe("ResizeBilinear", "ResizeNearestNeighbor", "ResizeBicubic", "ResizeArea")
def _resize(op: str, dtype: str) -> Iterator[Variant]:
    if not allowed(op, dtype):
        return
    pictures = [np.abs(values) * 20 for values in with_specials(dtype, 2, 5, 3, 2)[:2]]
    ways: list[dict[str, Any]] = [{}, {"align_corners": True}]
    if op != "ResizeArea":
        ways.append({"half_pixel_centers": True})
    for way in ways:
        for size in ([7, 4], [10, 6], [2, 2], [5, 3], [1, 9]):
            yield Variant(
                f"{size} {' '.join(way)}", [{"images": values} for values in pictures], {"size": np.int32(size)}, way,
                atol=1e-3,
            )  # fmt: skip
        computed = [{"images": pictures[0], "size": np.int32(size)} for size in ([7, 4], [2, 6])]
        yield Variant(f"computed {' '.join(way)}", computed, attributes=way, atol=1e-3)
    yield Variant("known", [{"images": pictures[0]}], {"size": np.int32([10, 6])}, is_open=False, atol=1e-3)


_BOXES: Any = np.float32([
    [0, 0, 1, 1], [0, 0.1, 1, 1.1], [0, -0.1, 1, 0.9], [0, 10, 1, 11], [0, 10.1, 1, 11.1], [0, 100, 1, 101],
    [1, 1, 0, 0], [3, 3, 3, 3],
])  # fmt: skip
_SCORES: Any = np.float32([0.9, 0.75, 0.6, 0.95, 0.5, 0.3, 0.9, 0.2])


@recipe(
    "NonMaxSuppressionV2",
    "NonMaxSuppressionV3",
    "NonMaxSuppressionV4",
    "NonMaxSuppressionV5",
    of=("float32", "float16"),
)
def _suppression(op: str, dtype: str) -> Iterator[Variant]:
    scores = [_SCORES, np.full_like(_SCORES, 0.5), np.float32([np.nan, 1, 0, -1, 0.4, 0.4, np.inf, 0.1])]
    calls = [{"boxes": _BOXES.astype(dtype), "scores": item.astype(dtype)} for item in scores]
    calls.append({"boxes": _BOXES[:0].astype(dtype), "scores": _SCORES[:0].astype(dtype)})
    for most, overlap, least in ((3, 0.5, 0.0), (30, 0.5, 0.4), (8, 1.0, -1.0), (8, 0.0, 0.0), (0, 0.5, 0.0)):
        constants = {"max_output_size": np.int32(most), "iou_threshold": np.array(overlap, dtype)}
        if op != "NonMaxSuppressionV2":
            constants["score_threshold"] = np.array(least, dtype)
        for sigma in (0.0, 0.5) if op.endswith("V5") else (0.0,):
            if op.endswith("V5"):
                constants["soft_nms_sigma"] = np.array(sigma, dtype)
            yield Variant(f"{most}, {overlap}, {least}, {sigma}", calls, constants)
    if op.endswith(("V4", "V5")):
        yield Variant(
            "padded", calls[:2], constants | {"max_output_size": np.int32(6)}, {"pad_to_max_output_size": True}
        )


@recipe("CombinedNonMaxSuppression", of=("float32",))
def _combined(op: str, dtype: str) -> Iterator[Variant]:
    constants = {"max_output_size_per_class": np.int32(3), "max_total_size": np.int32(5)}
    constants |= {"iou_threshold": np.float32(0.5), "score_threshold": np.float32(0.1)}
    boxes, scores = np.clip(_BOXES, 0, 12)[None, :, None], np.stack([_SCORES, _SCORES[::-1]], 1)[None]
    for attributes in ({}, {"pad_per_class": True}, {"clip_boxes": False}):
        yield Variant(str(attributes), [{"boxes": boxes, "scores": scores}], constants, attributes)


@recipe("ExtractImagePatches")
def _patches(op: str, dtype: str) -> Iterator[Variant]:
    for rates in ([1, 1, 1, 1], [1, 2, 2, 1]):
        for padding in ("SAME", "VALID"):
            attributes = {"ksizes": [1, 2, 3, 1], "strides": [1, 2, 1, 1], "rates": rates, "padding": padding}
            yield Variant(f"{rates} {padding}", [{"images": numbers(dtype, 2, 5, 7, 2)}], attributes=attributes)


@recipe("SampleDistortedBoundingBox", "SampleDistortedBoundingBoxV2", of=("int32",))
def _distorted(op: str, dtype: str) -> Iterator[Variant]:
    constants = {"min_object_covered": np.float32(0.1)} if op.endswith("V2") else {}
    yield Variant(
        "box", [{"image_size": np.int32([9, 9, 3]), "bounding_boxes": np.float32([[[0, 0, 1, 1]]])}], constants
    )
