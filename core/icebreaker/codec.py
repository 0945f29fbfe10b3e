"""The one form in which settings, requests, events and reports travel between processes and into files.

Everything is JSON that `msgspec` checks against the types on the way in: a wrong type, a missing or an unknown field is
an error, never a guess. Infinity and NaN, which figures may be, are written as Python's `json` spells them.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar, cast

import msgspec

T = TypeVar("T")


def to_plain(value: Any) -> Any:
    """A value of ours as dicts, lists, strings and numbers."""
    return msgspec.to_builtins(value)


def from_plain(data: Any, kind: type[T]) -> T:
    """Reads what `to_plain` gave, or what a stranger made, as a value of `kind`.

    Raises:
        ValueError: It is none; the text names the place.
        IcebreakerError: A value is out of its range.
    """
    try:
        found = msgspec.convert(data, kind)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if (unknown := _unknown_field(data, found)) is not None:
        raise ValueError(f"the field {unknown!r} is unknown: it comes from another version")
    return found


def encode(value: Any) -> str:
    """A value of ours as one line of JSON, without a line feed."""
    return json.dumps(to_plain(value), separators=(",", ":"))


def decode(text: str | bytes, kind: type[T]) -> T:
    """Reads what `encode` gave.

    Raises:
        ValueError: It is not JSON, or no value of `kind`.
        IcebreakerError: A value is out of its range.
    """
    try:
        data = json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    return from_plain(data, kind)


def _unknown_field(data: Any, value: object) -> str | None:
    """The first key in `data` that is none of the fields of what it became; msgspec passes over those.

    Args:
        data: Plain values.
        value: What msgspec made of them, which has the same shape.
    """
    pairs: Iterable[tuple[object, object]] = ()
    if isinstance(value, Mapping):
        pairs = zip(data.values(), cast("Mapping[str, object]", value).values(), strict=True)
    elif isinstance(value, list | tuple):
        pairs = zip(data, cast("Sequence[object]", value), strict=True)
    elif (names := _fields(value)) is not None:
        tag = value.__struct_config__.tag_field if isinstance(value, msgspec.Struct) else None
        if strangers := [str(key) for key in data if key not in names and key != tag]:
            return strangers[0]
        pairs = [(data[name], getattr(value, name)) for name in names if name in data]
    return next((unknown for pair in pairs if (unknown := _unknown_field(*pair)) is not None), None)


def _fields(value: object) -> tuple[str, ...] | None:
    """Names of the fields of a value of a dataclass or Struct; None for any other value."""
    if isinstance(value, msgspec.Struct):
        return value.__struct_fields__
    if dataclasses.is_dataclass(value):
        return tuple(field.name for field in dataclasses.fields(value))
    return None
