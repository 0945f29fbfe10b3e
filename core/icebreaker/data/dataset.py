"""Calibration data without code: images, arrays, TFRecords, a Python file or random values, as batches that stream by.

Every source is checked before it is used (names, shapes, types, NaN, constant values, too few samples), and whatever
was guessed is told in `Data.notes`. Needs neither TensorFlow nor an engine, so the app can preview what a network sees.

Owns: reading and preprocessing. Refuses: finding ranges (`quantize`).
"""

from __future__ import annotations

import gzip
import itertools
import runpy
import struct
import traceback
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from icebreaker.errors import IcebreakerError

Batch = dict[str, np.ndarray]
Shape = tuple[int | None, ...]

MINIMUM_SAMPLES = 8
_GOOD_SAMPLES = 100
_IMAGES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
_PIXEL_TYPES = frozenset({"float16", "float32", "float64", "uint8", "int32", "int64"})
# Names under which an archive may hold the right answers.
LABELS = ("labels", "label", "y")
RANDOM_WARNING = "random data: the ranges and every accuracy figure mean nothing; use it to measure speed only"


@dataclass(frozen=True)
class Input:
    """An input of the graph: its name, numpy dtype and shape, None where a dimension is open."""

    name: str
    dtype: str
    shape: Shape | None


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes the network's input: `(pixel - mean) / std`, pixels from 0 to 255.

    Attributes:
        height: Rows.
        width: Columns.
        channels: `RGB`, `BGR` or `L` (grey).
        layout: `NHWC` or `NCHW`; without its N for an input that has no batch axis.
        mean: One value, or one per channel, in the order of `channels`.
        std: Likewise.
        crop: `center` keeps the proportions and cuts off what is too much, `stretch` does not.
    """

    height: int
    width: int
    channels: str = "RGB"
    layout: str = "NHWC"
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (255.0,)
    crop: str = "center"

    def __post_init__(self) -> None:
        """Checks every value.

        Raises:
            IcebreakerError: A value is out of its range.
        """
        planes = 1 if self.channels == "L" else 3
        if self.height < 1 or self.width < 1:
            raise IcebreakerError(f"image size {self.width}×{self.height} is too small: both must be at least 1")
        if self.channels not in ("RGB", "BGR", "L") or self.layout not in ("NHWC", "NCHW", "HWC", "CHW"):
            raise IcebreakerError(f"{self.channels} in {self.layout} is unknown: choose RGB, BGR or L in NHWC or NCHW")
        if self.crop not in ("center", "stretch"):
            raise IcebreakerError(f"crop {self.crop!r} is unknown: choose center or stretch")
        if not {len(self.mean), len(self.std)} <= {1, planes} or not all(self.std):
            raise IcebreakerError(f"mean and std must have 1 or {planes} values, and std must not be 0")

    @classmethod
    def guess(cls, item: Input) -> Preprocessing | None:
        """The likeliest preprocessing for an input, from its shape and type; None if it does not look like an image.

        Float inputs are taken to want values from 0 to 1, whole-number ones from 0 to 255. Open sizes become 224.
        """
        shape = item.shape
        if (
            shape is None
            or len(shape) not in (3, 4)
            or item.dtype not in ("float32", "float64", "float16", "uint8", "int32", "int64")
        ):
            return None
        first, second, last = shape[-3], shape[-2], shape[-1]
        if last in (1, 3):
            layout, planes, height, width = "NHWC", last, first, second
        elif first in (1, 3):
            layout, planes, height, width = "NCHW", first, second, last
        else:
            return None
        return cls(
            height or 224,
            width or 224,
            "L" if planes == 1 else "RGB",
            layout if len(shape) == 4 else layout[1:],
            std=(255.0,) if item.dtype.startswith("float") else (1.0,),
        )

    def __str__(self) -> str:
        """In words, for the user."""
        lowest = [0.0 - m / s for m, s in self._pairs()]
        highest = [(255 - m) / s for m, s in self._pairs()]
        kept = "cropped at the center" if self.crop == "center" else "stretched"
        return (
            f"{self.width}×{self.height}, {kept}, {'grey' if self.channels == 'L' else self.channels}, {self.layout}, "
            f"values from {min(lowest):.4g} to {max(highest):.4g}"
        )

    def _pairs(self) -> list[tuple[float, float]]:
        count = max(len(self.mean), len(self.std))
        return list(zip(self.mean * (count // len(self.mean)), self.std * (count // len(self.std)), strict=True))

    def apply(self, image: Any) -> np.ndarray:
        """A Pillow image as float32, [H, W, C] or [C, H, W]."""
        from PIL import Image

        if image.mode in ("RGBA", "LA", "P"):  # what is transparent becomes white
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        image = image.convert("L" if self.channels == "L" else "RGB")
        wide, high = image.size
        box = None
        if self.crop == "center":
            scale = min(wide / self.width, high / self.height)
            left, top = (wide - self.width * scale) / 2, (high - self.height * scale) / 2
            box = (left, top, wide - left, high - top)
        image = image.resize((self.width, self.height), Image.Resampling.BILINEAR, box)
        pixels = np.asarray(image, np.float32).reshape(self.height, self.width, -1)
        if self.channels == "BGR":
            pixels = pixels[..., ::-1]
        pixels = (pixels - np.asarray(self.mean, np.float32)) / np.asarray(self.std, np.float32)
        return np.ascontiguousarray(pixels.transpose(2, 0, 1) if self.layout.endswith("CHW") else pixels)

    def visible(self, value: np.ndarray) -> np.ndarray:
        """What `apply` gave, as a picture: uint8 [H, W, 3] in RGB."""
        pixels = value.transpose(1, 2, 0) if self.layout.endswith("CHW") else value
        pixels = np.rint(pixels * np.asarray(self.std, np.float32) + np.asarray(self.mean, np.float32))
        pixels = np.clip(pixels, 0, 255).astype(np.uint8)[..., :: -1 if self.channels == "BGR" else 1]
        return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels


@dataclass(frozen=True)
class Data:
    """Calibration data: iterating gives batches, input name → array, as often as one likes.

    Attributes:
        kind: images, arrays, tfrecord, python or random.
        samples: Number of rows; 0 if only reading tells.
        batch: Rows a batch.
        notes: What was guessed or chosen, for the user to check.
        warnings: What makes the result doubtful.
        preprocessing: For images.
        labels: The right class of every row, where the data has it.
    """

    kind: str
    samples: int
    batch: int
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    preprocessing: Preprocessing | None = None
    labels: np.ndarray | None = field(default=None, repr=False)
    read: Callable[[], Iterator[Batch]] = field(default=lambda: iter(()), repr=False)

    def __iter__(self) -> Iterator[Batch]:
        """Reads from the beginning."""
        return self.read()

    def __length_hint__(self) -> int:
        """Number of batches; 0 if only reading tells."""
        return -(-self.samples // self.batch)

    def split(self, every: int = 4) -> tuple[Data, Data]:
        """Data to calibrate with, and data held back to judge with: every `every`th batch."""
        total = self.__length_hint__()
        held = sum(max(0, min(self.batch, self.samples - k * self.batch)) for k in range(every - 1, total, every))
        rows = np.arange(self.samples) // self.batch % every == every - 1

        def part(back: bool) -> Data:
            def read() -> Iterator[Batch]:
                return (item for k, item in enumerate(self.read()) if (k % every == every - 1) is back)

            count = held if back else self.samples - held
            labels = None if self.labels is None else self.labels[rows if back else ~rows]
            return replace(self, samples=count, labels=labels, read=read)

        return part(False), part(True)


def open_data(
    path: str | Path,
    inputs: Sequence[Input],
    *,
    samples: int | None = None,
    seed: int = 0,
    batch: int = 8,
    preprocessing: Preprocessing | None = None,
    allow_code: bool = False,
) -> Data:
    """Opens calibration data and checks it.

    Args:
        path: A folder of images, an `.npz`, `.npy`, TFRecord (`.tfrecord`, `.tfrecords`, `.record`) or `.py` file, or
            `random`.
        inputs: The graph's inputs.
        samples: How many rows to take, chosen at random; None: all (of `random`: 100).
        seed: Of that choice.
        batch: Rows a batch; an input with a fixed first dimension decides for itself.
        preprocessing: For images; None: guessed.
        allow_code: Whether a Python file may run. Ask the user first: it can do anything that the user can.

    Raises:
        IcebreakerError: It cannot be read, does not fit the inputs, or cannot be good calibration data.
    """
    if not inputs:
        raise IcebreakerError("the graph has no input to calibrate")
    if samples is not None and samples < 1:
        raise IcebreakerError(f"{samples} samples are too few: take at least {MINIMUM_SAMPLES}")
    fixed = {item.shape[0] for item in inputs if item.shape and item.shape[0]}
    exact = len(fixed) == 1
    choice = _Choice(tuple(inputs), samples, seed, (fixed.pop() if exact else batch) or 1, exact)
    if str(path) == "random":
        return _random(choice)
    path = Path(path).expanduser()
    if not path.exists():
        raise IcebreakerError(f"{path} does not exist: give a folder of images, an .npz, .npy, .tfrecord or .py file")
    if path.is_dir():
        data = _images(path, choice, preprocessing)
    elif path.suffix in (".npz", ".npy"):
        data = _arrays(path, choice)
    elif path.suffix in (".tfrecord", ".tfrecords", ".record") or ".tfrecord" in path.name:
        data = _tfrecord(path, choice, preprocessing)
    elif path.suffix == ".py":
        if not allow_code:
            raise IcebreakerError(
                f"{path} is a program that would run with all your rights: allow that first (--allow-python)"
            )
        data = _python(path, choice)
    else:
        raise IcebreakerError(
            f"{path} is no calibration data: give a folder of images, an .npz, .npy, .tfrecord or .py"
        )
    return _checked(path, data, choice)


@dataclass(frozen=True)
class _Choice:
    inputs: tuple[Input, ...]
    samples: int | None
    seed: int
    batch: int
    exact: bool  # no batch may be smaller

    def rows(self, total: int) -> np.ndarray:
        """Which of `total` rows to take, ascending."""
        count = min(total, self.samples or total)
        if self.exact:
            count -= count % self.batch
        if count == total:
            return np.arange(total)
        return np.sort(np.random.default_rng(self.seed).choice(total, count, replace=False))

    def note(self, total: int) -> str:
        taken = len(self.rows(total))
        return f"{taken} samples" if taken == total else f"{taken} of {total} samples, chosen with seed {self.seed}"

    def batched(self, rows: Iterable[Batch]) -> Iterator[Batch]:
        """Joins rows, which have no batch axis, to batches; values of inputs without axes are repeated as they are."""
        iterator = iter(rows)
        scalars = {item.name for item in self.inputs if item.shape == ()}
        while part := list(itertools.islice(iterator, self.batch)):
            yield {
                name: part[0][name] if name in scalars else np.stack([row[name] for row in part]) for name in part[0]
            }


def _checked(path: Path, data: Data, choice: _Choice) -> Data:
    """Reads enough of the data to refuse what cannot be right; the rest is checked as it comes."""
    if data.samples and data.samples < MINIMUM_SAMPLES:
        raise IcebreakerError(
            f"{path} has {data.samples} samples: give at least {MINIMUM_SAMPLES}, better {_GOOD_SAMPLES}"
        )
    raw = data.read

    def read() -> Iterator[Batch]:
        seen = 0
        for item in raw():
            fitted = {want.name: _fit(path, want, item, seen) for want in choice.inputs}
            seen += max((len(value) for value in fitted.values() if value.ndim), default=1)
            yield fitted

    # Arrays are read as a whole; of what must be decoded or computed, a part is enough.
    first: dict[str, tuple[float, float]] = {}
    seen = 0
    for item in itertools.islice(read(), None if data.kind == "arrays" else -(-MINIMUM_SAMPLES // data.batch) + 1):
        seen += max((len(value) for value in item.values() if value.ndim), default=1)
        for name, value in item.items():
            if value.size and value.ndim and value.dtype.kind in "fiu":
                low, high = first.get(name, (np.inf, -np.inf))
                first[name] = min(low, float(value.min())), max(high, float(value.max()))
    if seen < MINIMUM_SAMPLES:
        raise IcebreakerError(f"{path} has {seen} samples: give at least {MINIMUM_SAMPLES}, better {_GOOD_SAMPLES}")
    for name, (low, high) in first.items():
        if low == high:
            raise IcebreakerError(
                f"{path}: every value for input {name} is {low:g}: that tells nothing about its range"
            )
    warnings = list(data.warnings)
    if data.samples and data.samples < _GOOD_SAMPLES:
        warnings.append(f"only {data.samples} samples: {_GOOD_SAMPLES} or more give safer ranges")
    return replace(data, read=read, warnings=tuple(warnings))


def _fit(path: Path, want: Input, item: Mapping[str, np.ndarray], row: int) -> np.ndarray:
    """The values for an input in its type."""
    value = np.asarray(_pick(path, want.name, item))
    if want.dtype == "string":
        if value.dtype.kind not in "OSU":
            raise IcebreakerError(f"{path}: input {want.name} wants text or bytes, but the data is {value.dtype}")
        _fits(str(path), want, value.shape)
        return value.astype(object)
    if value.dtype.kind not in "fiub" or (value.dtype.kind == "f" and np.dtype(want.dtype).kind in "iub"):
        raise IcebreakerError(f"{path}: input {want.name} wants {want.dtype}, but the data is {value.dtype}")
    _fits(str(path), want, value.shape)
    if value.dtype.kind == "f" and not (finite := np.isfinite(value)).all():
        bad = row + 1 + (int(np.argwhere(~finite)[0][0]) if value.ndim else 0)
        raise IcebreakerError(f"{path}, sample {bad}: input {want.name} has NaN or infinite values: clean the data")
    return value.astype(want.dtype, copy=False)


def _fits(where: str, want: Input, shape: Sequence[int]) -> None:
    if want.shape is None:
        return
    # The first axis is the batch, and a last batch may be smaller.
    pairs = list(zip(want.shape, shape, strict=False))[1:]
    if len(want.shape) != len(shape) or any(a is not None and a != b for a, b in pairs):
        wanted = ", ".join("any" if size is None else str(size) for size in want.shape)
        raise IcebreakerError(f"{where}: input {want.name} wants the shape [{wanted}], but the data has {list(shape)}")


def _pick(path: Path, name: str, item: Mapping[str, Any]) -> Any:
    """The entry for an input: `x` and `x:0` are the same name; a single entry for a single input needs no name."""
    short = name.removesuffix(":0")
    for key in (name, short, f"{short}:0"):
        if key in item:
            return item[key]
    raise IcebreakerError(f"{path} has no values for input {short}: it has {', '.join(map(str, item)) or 'nothing'}")


def _image_input(path: Path, choice: _Choice, given: Preprocessing | None) -> tuple[Input, Preprocessing, str]:
    """The input that takes the images, and how they become its values."""
    fitting = [(item, guess) for item in choice.inputs if (guess := Preprocessing.guess(item))]
    if len(fitting) != 1 or len(choice.inputs) != 1:
        names = ", ".join(item.name for item in choice.inputs)
        raise IcebreakerError(f"{path} has images, but the graph's inputs ({names}) are not one image: give an .npz")
    item, guess = fitting[0]
    chosen = given or guess
    return item, chosen, f"images become {item.name}: {chosen}" + ("" if given else " (guessed: please check)")


def _images(path: Path, choice: _Choice, given: Preprocessing | None) -> Data:
    from PIL import Image

    files = sorted(item for item in path.rglob("*") if item.suffix.lower() in _IMAGES and item.is_file())
    if not files:
        raise IcebreakerError(f"{path} has no images: {', '.join(sorted(_IMAGES))} are read, in subfolders too")
    # A graph that decodes its images itself takes the files as they are.
    raw = len(choice.inputs) == 1 and choice.inputs[0].dtype == "string"
    if raw:
        item, how, note = choice.inputs[0], None, f"{choice.inputs[0].name} takes the files' bytes"
    else:
        item, how, note = _image_input(path, choice, given)
    taken = [files[k] for k in choice.rows(len(files))]

    def rows() -> Iterator[Batch]:
        for file in taken:
            try:
                if how is None:
                    yield {item.name: np.array(file.read_bytes(), object)}
                    continue
                with Image.open(file) as image:
                    yield {item.name: _typed(how.apply(image), item)}
            except Exception as error:  # decoders raise what they like
                raise IcebreakerError(f"{file} is no image that can be read ({error}): remove it") from error

    return Data(
        "images",
        len(taken),
        choice.batch,
        (choice.note(len(files)), note),
        (),
        how,
        read=lambda: _joined(rows(), choice),
    )


def _joined(rows: Iterable[Batch], choice: _Choice) -> Iterator[Batch]:
    """Rows to batches; an input without a batch axis gets one row at a time."""
    if all(item.shape is not None and len(item.shape) == 3 for item in choice.inputs):
        return iter(rows)
    return choice.batched(rows)


def _typed(value: np.ndarray, item: Input) -> np.ndarray:
    """Preprocessed pixels in the input's type."""
    return (value if item.dtype.startswith("float") else np.rint(value)).astype(item.dtype)


def _arrays(path: Path, choice: _Choice) -> Data:
    """An .npz with an array for each input, or an .npy for the only one; read row by row."""
    with _reading_arrays(path), ExitStack() as stack:
        if path.suffix == ".npy":
            header = {"": _header(stack.enter_context(path.open("rb")))}
        else:
            archive = stack.enter_context(zipfile.ZipFile(path))
            members = [name for name in archive.namelist() if name.endswith(".npy")]
            header = {name[:-4]: _header(stack.enter_context(archive.open(name))) for name in members}
    labels = next((name for name in LABELS if name in header and name not in {i.name for i in choice.inputs}), None)
    rest = [name for name in header if name != labels]
    if len(choice.inputs) == 1 and len(rest) == 1:
        keys = {choice.inputs[0].name: rest[0]}
    else:
        keys = {item.name: _pick(path, item.name, {name: name for name in header}) for item in choice.inputs}
    counts = set()
    for item in choice.inputs:
        shape, dtype = header[keys[item.name]]
        if dtype.hasobject:
            raise IcebreakerError(f"{path}: {keys[item.name] or 'the array'} holds Python objects: save plain numbers")
        if item.shape != ():
            _fits(str(path), item, shape)
            counts.add(shape[0] if shape else 0)
    if len(counts) > 1:
        raise IcebreakerError(f"{path}: the inputs have different numbers of samples ({sorted(counts)})")
    total = counts.pop() if counts else 0

    def read() -> Iterator[Batch]:
        streams = {name: _rows(path, key, taken, choice.batch) for name, key in keys.items() if header[key][0]}
        with _reading_arrays(path):
            scalars = {name: _whole(path, key) for name, key in keys.items() if not header[key][0]}
            for parts in zip(*streams.values(), strict=True):
                yield dict(zip(streams, parts, strict=True)) | scalars

    with _reading_arrays(path):
        taken = choice.rows(total)
        found = _whole(path, labels)[taken] if labels and header[labels][0][:1] == (total,) else None
    return Data("arrays", len(taken), choice.batch, (choice.note(total),), labels=found, read=read)


@contextmanager
def _reading_arrays(path: Path) -> Iterator[None]:
    """Makes one line of what a damaged archive makes zipfile and numpy raise, which is not to be foretold."""
    try:
        yield
    except IcebreakerError:
        raise
    except Exception as error:
        raise IcebreakerError(f"{path} cannot be read as arrays ({error}): save it with numpy.savez") from error


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    shape, _, dtype = _read_header(stream)
    return shape, dtype


def _read_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(stream)


def _whole(path: Path, key: str) -> np.ndarray:
    loaded = np.load(path, allow_pickle=False)
    return loaded if isinstance(loaded, np.ndarray) else loaded[key]


def _rows(path: Path, key: str, taken: np.ndarray, batch: int) -> Iterator[np.ndarray]:
    """The rows of an array in batches, without holding the array."""
    with ExitStack() as stack:
        if path.suffix == ".npy":
            stream: IO[bytes] = stack.enter_context(path.open("rb"))
        else:
            stream = stack.enter_context(stack.enter_context(zipfile.ZipFile(path)).open(f"{key}.npy"))
        shape, fortran, dtype = _read_header(stream)
        if fortran:
            value = _whole(path, key)
            for start in range(0, len(taken), batch):
                yield value[taken[start : start + batch]]
            return
        size, place = dtype.itemsize * int(np.prod(shape[1:])), 0
        for start in range(0, len(taken), batch):
            found = []
            for row in taken[start : start + batch]:
                while place < row:
                    stream.read(size)
                    place += 1
                data = stream.read(size)
                if len(data) != size:
                    raise IcebreakerError(f"{path} ends in the middle of row {place}: copy it again")
                found.append(np.frombuffer(data, dtype).reshape(shape[1:]))
                place += 1
            yield np.stack(found)


def _tfrecord(path: Path, choice: _Choice, given: Preprocessing | None) -> Data:
    """tf.Examples: a feature for each input, as numbers, raw bytes of the input's type, or an encoded image."""
    total = sum(1 for _ in _records(path))
    taken = set(choice.rows(total).tolist())
    example = _parse_example(path, next(_records(path), b""))
    # A graph that decodes its images itself takes their bytes as they are.
    encoded = len(choice.inputs) == 1 and choice.inputs[0].dtype != "string" and _encoded(example, choice.inputs[0])
    notes, how = [choice.note(total)], None
    if encoded:
        _, how, note = _image_input(path, choice, given)
        notes.append(note)

    def rows() -> Iterator[Batch]:
        for index, record in enumerate(_records(path)):
            if index in taken:
                found = _parse_example(path, record)
                yield {
                    item.name: _feature(path, index, found, item, how if encoded else None) for item in choice.inputs
                }

    return Data("tfrecord", len(taken), choice.batch, tuple(notes), (), how, read=lambda: _joined(rows(), choice))


def _encoded(example: Mapping[str, Any], item: Input) -> str:
    """The name of the feature that holds an encoded image, empty without one."""
    marks = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"RIFF")
    for name in (item.name, item.name.removesuffix(":0"), "image/encoded", "image", "image_raw", *example):
        value = example.get(name)
        if isinstance(value, bytes) and value.startswith(marks):
            return name
    return ""


def _feature(path: Path, index: int, example: Mapping[str, Any], item: Input, how: Preprocessing | None) -> np.ndarray:
    import io

    from PIL import Image

    where = f"{path}, record {index + 1}"
    if how:
        try:
            with Image.open(io.BytesIO(example[_encoded(example, item)])) as image:
                return _typed(how.apply(image), item)
        except Exception as error:  # decoders raise what they like
            raise IcebreakerError(f"{where}: its image cannot be read ({error})") from error
    value = next(iter(example.values())) if len(example) == 1 else _pick(path, item.name, example)
    shape = item.shape[1:] if item.shape else ()
    if isinstance(value, bytes) and item.dtype == "string":
        value = np.array(value, object)
    elif isinstance(value, bytes):
        if len(value) % np.dtype(item.dtype).itemsize:
            raise IcebreakerError(f"{where}: the bytes of {item.name} are no {item.dtype} values")
        value = np.frombuffer(value, item.dtype)
    try:
        return np.asarray(value).reshape([-1 if size is None else size for size in shape])
    except ValueError as error:
        raise IcebreakerError(f"{where}: {item.name} has {np.size(value)} values, not {list(shape)}") from error


def _records(path: Path) -> Iterator[bytes]:
    """The records of a TFRecord file, plain or gzip: length (8 bytes), its checksum (4), data, its checksum (4)."""
    try:
        with path.open("rb") as plain:
            zipped = plain.read(2) == b"\x1f\x8b"
        most = path.stat().st_size * (200 if zipped else 1)  # more is not in it
        with gzip.open(path) if zipped else path.open("rb") as stream:
            while head := stream.read(12):
                size = struct.unpack("<Q", head[:8])[0] if len(head) == 12 else 1 << 63
                data = stream.read(size) if size <= most else b""
                if len(data) != size or len(stream.read(4)) != 4:
                    raise IcebreakerError(f"{path} is no TFRecord, or is cut off: write it again")
                yield data
    except (OSError, EOFError, gzip.zlib.error) as error:  # type: ignore[attr-defined]
        raise IcebreakerError(f"{path} cannot be read: {error}") from error


@cache
def _example_class() -> Any:
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
    """Feature name → bytes, or an array."""
    from google.protobuf.message import DecodeError

    try:
        example = _example_class().FromString(record)
    except DecodeError as error:
        raise IcebreakerError(f"{path}: a record is no tf.Example: write it with tf.train.Example") from error
    found: dict[str, Any] = {}
    for name, value in example.features.feature.items():
        if value.bytes.value:
            found[name] = value.bytes.value[0]
        elif value.floats.value:
            found[name] = np.array(value.floats.value, np.float32)
        else:
            found[name] = np.array(value.ints.value, np.int64)
    return found


def _python(path: Path, choice: _Choice) -> Data:
    """A file with `def batches():`, which yields an array (one input) or a mapping from input name to array."""

    def failed(error: BaseException) -> IcebreakerError:
        frames = [item for item in traceback.extract_tb(error.__traceback__) if item.filename == str(path)]
        line = frames[-1].lineno if frames else getattr(error, "lineno", None)
        at = f", line {line}" if line else ""
        return IcebreakerError(f"{path}{at}: {type(error).__name__}: {error}")

    try:
        function = runpy.run_path(str(path)).get("batches")
    except (Exception, SystemExit) as error:
        raise failed(error) from error
    if not callable(function):
        raise IcebreakerError(f"{path} has no function batches(): define one that yields input name → array")

    def read() -> Iterator[Batch]:
        left = choice.samples
        try:
            for item in iter(cast(Any, function)()):
                found = item if isinstance(item, Mapping) else {choice.inputs[0].name: item}
                batch = {str(name): np.asarray(value) for name, value in found.items()}
                rows = max((len(value) for value in batch.values() if value.ndim), default=1)
                if left is not None and rows > left:
                    batch = {name: value[:left] if value.ndim else value for name, value in batch.items()}
                yield batch
                left = None if left is None else left - rows
                if left is not None and left <= 0:
                    return
        except IcebreakerError:
            raise
        except Exception as error:
            raise failed(error) from error

    return Data("python", choice.samples or 0, choice.batch, (f"batches() of {path} runs as a program",), read=read)


def _random(choice: _Choice) -> Data:
    """Values from 0 to 1 for floats, 0 and 1 for whole numbers and truth values: fit for speed only."""
    total = choice.samples or _GOOD_SAMPLES
    if text := next((item.name for item in choice.inputs if item.dtype == "string"), ""):
        raise IcebreakerError(f"input {text} takes text, which cannot be made up: give calibration data")

    def read() -> Iterator[Batch]:
        random = np.random.default_rng(choice.seed)
        for start in range(0, total, choice.batch):
            rows, batch = min(choice.batch, total - start), {}
            for item in choice.inputs:
                shape = tuple(rows if k == 0 else size or 1 for k, size in enumerate(item.shape or ()))
                whole = not item.dtype.startswith("float")
                batch[item.name] = (random.integers(0, 2, shape) if whole else random.random(shape)).astype(item.dtype)
            yield batch

    return Data("random", total, choice.batch, (f"{total} samples, seed {choice.seed}",), (RANDOM_WARNING,), read=read)
