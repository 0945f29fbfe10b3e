"""What the native op (`core/native`) runs an engine from: a model, and what to watch for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from icebreaker.engine.numbers.limits import Watch


@dataclass(frozen=True)
class NativeForm:
    """An engine for the native op: what a runner's `native_form` gives, if its `has_native_form` says that it has one.

    Attributes:
        model: The model as the op reads it: OpenVINO's own form.
        config: What it is compiled with.
        watch: What the op looks at in the inputs before each call, as the runner would.
    """

    model: bytes
    config: Mapping[str, str]
    watch: Watch
