"""Calibration tables: what a calibration found for a segment, as a value and as a file for conversions without data."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from icebreaker import codec
from icebreaker.errors import IcebreakerError
from icebreaker.storage.files import check_file, write_whole

_TABLE_FORMAT = "icebreaker calibration 1"
_FILE_FORMAT = "icebreaker calibrations 1"
_MOST_BYTES = 1 << 30


@dataclass(frozen=True)
class Range:
    """What calibration found for a tensor: its extremes, and the |x| that becomes 127."""

    low: float
    high: float
    threshold: float
    method: str


@dataclass(frozen=True)
class Table:
    """A calibration: all that INT8 needs besides the float model.

    Attributes:
        graph: Hash of the prepared model's structure and weights; names do not count.
        data: Hash of the calibration data.
        samples: Rows of data that were seen.
        method: How the thresholds were chosen; `tried` says why, if it was left open.
        tensors: Tensor that gets Q/DQ → its range, in the order in which the layers read them.
        layers: Layer → what is added to its output, per channel (0 where that did not help); None: it stays float.
        tried: Method → signal to noise at the outputs in dB, as a mean over rows, where several were compared.
    """

    graph: str
    data: str
    samples: int
    method: str
    tensors: Mapping[str, Range]
    layers: Mapping[str, tuple[float, ...] | None] = field(default_factory=dict, repr=False)
    tried: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> str:
        """Readable JSON: one tensor or layer a line."""

        def block(items: Mapping[str, Any]) -> str:
            return "{\n" + ",\n".join(f"    {json.dumps(k)}: {json.dumps(v)}" for k, v in items.items()) + "\n  }"

        lines = [f'  "format": {json.dumps(_TABLE_FORMAT)}']
        lines += [f'  "{key}": {json.dumps(getattr(self, key))}' for key in ("graph", "data", "samples", "method")]
        lines.append(f'  "tried": {json.dumps(dict(self.tried))}')
        lines.append(f'  "tensors": {block({k: dataclasses.asdict(v) for k, v in self.tensors.items()})}')
        layers = {k: None if v is None else [float(f"{x:.6g}") for x in v] for k, v in self.layers.items()}
        lines.append(f'  "layers": {block(layers)}')
        return "{\n" + ",\n".join(lines) + "\n}\n"

    @classmethod
    def from_json(cls, text: str, name: str = "the calibration table") -> Table:
        """Reads what `to_json` wrote; `name` is for the error's text.

        Raises:
            IcebreakerError: It is no calibration table, or has values that cannot be.
        """
        try:
            data = json.loads(text)
            if data.pop("format") != _TABLE_FORMAT:
                raise ValueError("unknown format")
            table = codec.from_plain(data, cls)
            numbers = [n for r in table.tensors.values() for n in (r.low, r.high, r.threshold)]
            numbers += [n for shift in table.layers.values() for n in shift or ()]
            if not all(map(math.isfinite, numbers)) or any(r.threshold < 0 for r in table.tensors.values()):
                raise ValueError("a value is not finite or a threshold is negative")
            return table
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
            raise _no_table(name, str(error)) from error


def write_tables(path: Path, tables: Mapping[str, Table], job_id: str = "") -> None:
    """Writes the tables of all segments, by segment name, to one file: whole or not at all."""
    parts = []
    for name, table in tables.items():
        body = table.to_json().rstrip().replace("\n", "\n    ")
        parts.append(f'   {{"segment": {json.dumps(name)}, "table":\n    {body}}}')
    text = f'{{\n  "format": {json.dumps(_FILE_FORMAT)},\n  "segments": [\n' + ",\n".join(parts) + "\n  ]\n}\n"
    write_whole(path, text.encode(), job_id)


def read_tables(path: Path) -> dict[str, Table]:
    """Tables by the hash of their model (`Table.graph`), from what `write_tables` wrote, or from a single table.

    Raises:
        IcebreakerError: There is no such file, or it is no calibration table.
    """
    try:
        check_file(path, _MOST_BYTES)
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise IcebreakerError(
            "table_not_read", "{file} could not be read: {reason}", "give_table",
            subject=path, file=str(path), reason=str(error.strerror),
        ) from error  # fmt: skip
    except (ValueError, RecursionError) as error:
        raise _no_table(str(path), str(error)) from error
    parts: Any = [data]
    if isinstance(data, dict) and data.get("format") == _FILE_FORMAT:
        parts = data.get("segments")
        if not isinstance(parts, list) or not all(isinstance(part, dict) and "table" in part for part in parts):
            raise IcebreakerError(
                "no_calibration_table", "{file} is no calibration table", "calibrate_again",
                subject=path, file=str(path),
            )  # fmt: skip
        parts = [part["table"] for part in parts]
    tables = [Table.from_json(json.dumps(part), str(path)) for part in parts]
    return {table.graph: table for table in tables}


def _no_table(name: str, reason: str) -> IcebreakerError:
    return IcebreakerError(
        "no_calibration_table", "{file} is no calibration table ({reason})", "calibrate_again",
        subject=name, file=name, reason=reason,
    )  # fmt: skip
