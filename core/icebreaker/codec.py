"""The one form in which settings, requests, events and reports travel between processes and into files.

Everything is JSON that `msgspec` checks against the types on the way in: a wrong type, a missing or an unknown field is
an error, never a guess. Infinity and NaN, which figures may be, are written as Python's `json` spells them.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
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


def _unknown_field(data: object, kind: Any) -> str:
    """The first key of a dataclass's JSON object that is none of its fields; msgspec passes over those."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        classes = [part for part in arguments if dataclasses.is_dataclass(part)]
        return _unknown_field(typing.cast(object, data), classes[0]) if classes and isinstance(data, Mapping) else ""
    if isinstance(data, Mapping):
        entries = typing.cast("Mapping[str, object]", data)
        if origin is not None:
            return (
                _first(_unknown_field(value, arguments[1]) for value in entries.values()) if len(arguments) == 2 else ""
            )
        fields = _fields(kind)
        if dataclasses.is_dataclass(kind) and (unknown := set(entries) - fields):
            return min(unknown)
        hints = typing.get_type_hints(kind) if fields else {}
        return _first(_unknown_field(value, hints[name]) for name, value in entries.items() if name in fields)
    if isinstance(data, list | tuple) and arguments:
        return _first(_unknown_field(value, arguments[0]) for value in typing.cast("Sequence[object]", data))
    return ""


def _first(names: Iterable[str]) -> str:
    return next((name for name in names if name), "")


def _fields(kind: Any) -> set[str]:
    """Names of the fields of a dataclass or a Struct; none for any other type."""
    if dataclasses.is_dataclass(kind):
        return {field.name for field in dataclasses.fields(kind)}
    return set(getattr(kind, "__struct_fields__", ()))
