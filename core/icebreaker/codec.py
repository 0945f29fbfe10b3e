"""The one form in which settings, requests, events and reports travel between processes and into files.

Everything is JSON that `msgspec` checks against the types on the way in: a wrong type, a missing or an unknown field is
an error, never a guess. Infinity and NaN, which figures may be, are written as Python's `json` spells them.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

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
    if unknown := _unknown_field(data, kind):
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


def _unknown_field(data: Any, kind: Any) -> str:
    """The first key of a dataclass's JSON object that is none of its fields; msgspec passes over those."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        kinds = [item for item in arguments if dataclasses.is_dataclass(item)]
        return _unknown_field(data, kinds[0]) if kinds and isinstance(data, Mapping) else ""
    if origin is not None and isinstance(data, Mapping) and len(arguments) == 2:
        return next((name for item in data.values() if (name := _unknown_field(item, arguments[1]))), "")
    if origin is not None and isinstance(data, list | tuple) and arguments:
        return next((name for item in data if (name := _unknown_field(item, arguments[0]))), "")
    fields = getattr(kind, "__struct_fields__", None) or (
        {item.name for item in dataclasses.fields(kind)} if dataclasses.is_dataclass(kind) else None
    )
    if fields is None or not isinstance(data, Mapping):
        return ""
    hints = typing.get_type_hints(kind)
    for name, item in data.items():
        if name not in fields:
            if dataclasses.is_dataclass(kind):
                return str(name)
        elif inner := _unknown_field(item, hints[name]):
            return inner
    return ""
