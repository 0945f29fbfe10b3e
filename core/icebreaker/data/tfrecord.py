"""Calibration data: TFRecords of tf.Examples, plain or gzip, read without TensorFlow.

An example has a feature for each input, as numbers, as raw bytes of the input's type, or as an encoded image.
"""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from icebreaker.data.images import image_input
from icebreaker.data.source import Batch, Data, Request, Source, pick
from icebreaker.errors import IcebreakerError
from icebreaker.graph.graph import Placeholder
from icebreaker.preprocessing import Preprocessing


def _open(path: Path, request: Request) -> Data:
    total = sum(1 for _ in _records(path))
    taken = set(request.rows(total).tolist())
    example = _parse_example(path, next(_records(path), b""))
    # A graph that decodes its images itself takes their bytes as they are.
    encoded = len(request.inputs) == 1 and request.inputs[0].dtype != "string" and _encoded(example, request.inputs[0])
    notes, how = [request.note(total)], None
    if encoded:
        _, how, note = image_input(path, request)
        notes.append(note)

    def rows() -> Iterator[Batch]:
        for index, record in enumerate(_records(path)):
            if index in taken:
                features = _parse_example(path, record)
                yield {
                    item.name: _feature(path, index, features, item, how if encoded else None)
                    for item in request.inputs
                }

    return Data(
        "tfrecord", len(taken), request.batch, tuple(notes), (), how, read=lambda: request.batches(rows())
    )  # fmt: skip


def _encoded(example: Mapping[str, Any], wanted: Placeholder) -> str:
    """The name of the feature that holds an encoded image, empty without one."""
    marks = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"RIFF")
    names = (wanted.name, wanted.name.removesuffix(":0"), "image/encoded", "image", "image_raw", *example)
    for name in names:
        value = example.get(name)
        if isinstance(value, bytes) and value.startswith(marks):
            return name
    return ""


def _feature(
    path: Path, index: int, example: Mapping[str, Any], wanted: Placeholder, how: Preprocessing | None
) -> np.ndarray:
    """The values of one record for an input, without a batch axis.

    Args:
        path: The file, for errors.
        index: The record's place in it, likewise.
        example: Feature name → bytes, or an array.
        wanted: The input.
        how: How an encoded image becomes values; None: the feature has the values themselves.

    Raises:
        IcebreakerError: The record has none that fit.
    """
    from PIL import Image

    about = {"subject": wanted.name, "file": str(path), "record": index + 1}
    if how:
        try:
            with Image.open(io.BytesIO(example[_encoded(example, wanted)])) as image:
                return how.values(image, wanted.dtype)
        except Exception as error:  # decoders raise what they like
            raise IcebreakerError(
                "record_image_unreadable", "{file}, record {record}: its image cannot be read ({reason})",
                reason=str(error), **about,
            ) from error  # fmt: skip
    value = next(iter(example.values())) if len(example) == 1 else pick(path, wanted.name, example)
    shape = wanted.shape[1:] if wanted.shape else ()
    if isinstance(value, bytes) and wanted.dtype == "string":
        value = np.array(value, object)
    elif isinstance(value, bytes):
        if len(value) % np.dtype(wanted.dtype).itemsize:
            raise IcebreakerError(
                "record_bytes_unfit", "{file}, record {record}: the bytes of {subject} are no {dtype} values",
                dtype=wanted.dtype, **about,
            )  # fmt: skip
        value = np.frombuffer(value, wanted.dtype)
    try:
        return np.asarray(value).reshape([-1 if size is None else size for size in shape])
    except ValueError as error:
        raise IcebreakerError(
            "record_shape_unfit", "{file}, record {record}: {subject} has {count} values, not [{shape}]",
            count=int(np.size(value)), shape=tuple(str(size) for size in shape), **about,
        ) from error  # fmt: skip


def _records(path: Path) -> Iterator[bytes]:
    """The records of a TFRecord file: length (8 bytes), its checksum (4), data, its checksum (4).

    Raises:
        IcebreakerError: The file is something else, or damaged. Checksums are not looked at.
    """
    try:
        with path.open("rb") as plain:
            zipped = plain.read(2) == b"\x1f\x8b"
        most = path.stat().st_size * (200 if zipped else 1)  # more is not in it
        with gzip.open(path) if zipped else path.open("rb") as stream:
            while head := stream.read(12):
                size = struct.unpack("<Q", head[:8])[0] if len(head) == 12 else 1 << 63
                data = stream.read(size) if size <= most else b""
                if len(data) != size or len(stream.read(4)) != 4:
                    raise IcebreakerError(
                        "tfrecord_damaged", "{file} is no TFRecord, or is cut off", "write_again",
                        subject=path, file=str(path),
                    )  # fmt: skip
                yield data
    except (OSError, EOFError, zlib.error) as error:
        raise IcebreakerError(
            "tfrecord_unreadable", "{file} cannot be read: {reason}",
            subject=path, file=str(path), reason=str(error),
        ) from error  # fmt: skip


@cache
def example_class() -> Any:
    """The message class of tf.train.Example, made from its definition: it needs no TensorFlow."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file: Any = descriptor_pb2.FileDescriptorProto(
        name="icebreaker_example.proto", package="icebreaker", syntax="proto3"
    )

    def message(parent: Any, name: str, *fields: tuple[str, int, int, bool, str]) -> Any:
        made = parent.add(name=name)
        for title, number, kind, repeated, type_name in fields:
            made.field.add(
                name=title, number=number, type=kind, label=3 if repeated else 1, type_name=type_name or None
            )
        return made

    text, blob, number, whole, inner = 9, 12, 2, 3, 11
    message(file.message_type, "Bytes", ("value", 1, blob, True, ""))
    message(file.message_type, "Floats", ("value", 1, number, True, ""))
    message(file.message_type, "Ints", ("value", 1, whole, True, ""))
    feature = (("bytes", 1, ".icebreaker.Bytes"), ("floats", 2, ".icebreaker.Floats"), ("ints", 3, ".icebreaker.Ints"))
    message(file.message_type, "Feature", *((title, n, inner, False, kind) for title, n, kind in feature))
    entry = ("feature", 1, inner, True, ".icebreaker.Features.FeatureEntry")
    features = message(file.message_type, "Features", entry)
    pair = (("key", 1, text, False, ""), ("value", 2, inner, False, ".icebreaker.Feature"))
    message(features.nested_type, "FeatureEntry", *pair).options.map_entry = True
    message(file.message_type, "Example", ("features", 1, inner, False, ".icebreaker.Features"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("icebreaker.Example"))


def _parse_example(path: Path, record: bytes) -> dict[str, Any]:
    """Feature name → bytes, or an array.

    Raises:
        IcebreakerError: The record is no tf.Example.
    """
    from google.protobuf.message import DecodeError

    try:
        example = example_class().FromString(record)
    except DecodeError as error:
        raise IcebreakerError(
            "record_no_example", "{file}: a record is no tf.Example", "write_examples", subject=path, file=str(path)
        ) from error
    features: dict[str, Any] = {}
    for name, value in example.features.feature.items():
        if value.bytes.value:
            features[name] = value.bytes.value[0]
        elif value.floats.value:
            features[name] = np.array(value.floats.value, np.float32)
        else:
            features[name] = np.array(value.ints.value, np.int64)
    return features


SOURCE = Source(
    lambda path: path.suffix in (".tfrecord", ".tfrecords", ".record") or ".tfrecord" in path.name, _open
)  # fmt: skip
