"""What TF-TRT's calls were given, for both versions: names, defaults, and what is said of wrong values."""

from __future__ import annotations

from typing import Any, NamedTuple

from icebreaker.errors import IcebreakerError
from icebreaker.settings import DEFAULT_WORKSPACE, PRECISIONS


class BadArgument(IcebreakerError, ValueError):
    """An argument cannot be; also a ValueError, as scripts for the original expect."""


class ConversionWarning(UserWarning):
    """Nothing, or little, went to engines."""


class TrtPrecisionMode:
    """The names of precisions."""

    FP32 = "FP32"
    FP16 = "FP16"
    INT8 = "INT8"

    @staticmethod
    def supported_precision_modes() -> list[str]:
        """All of them, in capitals and small."""
        names = [TrtPrecisionMode.FP32, TrtPrecisionMode.FP16, TrtPrecisionMode.INT8]
        return names + [name.lower() for name in names]


DEFAULT_TRT_MAX_WORKSPACE_SIZE_BYTES = DEFAULT_WORKSPACE
PROFILE_STRATEGIES = ("Range", "Optimal", "Range+Optimal", "ImplicitBatchModeCompatible")


def supported_profile_strategies() -> list[str]:
    """What `dynamic_shape_profile_strategy` may be."""
    return list(PROFILE_STRATEGIES)


class TrtConversionParams(NamedTuple):
    """How to convert, as one value, with the fields of all versions of TensorFlow 2.

    Attributes:
        max_workspace_size_bytes: Scratch memory of a TensorRT builder.
        precision_mode: FP32, FP16 or INT8, in any case.
        minimum_segment_size: Smaller segments stay in TensorFlow.
        maximum_cached_engines: Without effect: one engine takes all shapes, where it can.
        use_calibration: With INT8: find ranges with `calibration_input_fn`. False takes those that the graph carries.
        allow_build_at_runtime: Without effect: engines are built in `convert` and `build`, never later.
        rewriter_config_template: Without effect.
        is_dynamic_op: Without effect.
        max_batch_size: Largest batch that the engines take; `build` finds it out itself.
    """

    max_workspace_size_bytes: int = DEFAULT_TRT_MAX_WORKSPACE_SIZE_BYTES
    precision_mode: str = TrtPrecisionMode.FP32
    minimum_segment_size: int = 3
    maximum_cached_engines: int = 1
    use_calibration: bool = True
    allow_build_at_runtime: bool = True
    rewriter_config_template: Any = None
    is_dynamic_op: bool = True
    max_batch_size: int = 1


DEFAULT_TRT_CONVERSION_PARAMS = TrtConversionParams()


def checked_precision(graph_def: Any, saved_model: str | None, precision_mode: str) -> str:
    """The precision in our words, once there is exactly one thing to convert."""
    if (graph_def is None) == (saved_model is None):
        raise BadArgument("graph_ambiguous", "give exactly one of input_graph_def and input_saved_model_dir")
    return precision_of(precision_mode)


def precision_of(precision_mode: str) -> str:
    """The precision in our words."""
    precision = str(precision_mode).lower()
    if precision not in PRECISIONS:
        raise BadArgument(
            "precision_mode_unknown", "precision_mode {subject!r} is unknown", "choose_precision_mode",
            subject=precision_mode,
        )  # fmt: skip
    return precision
