"""Values for a graph's inputs: the user's, or made up from what the graph says of them.

Made-up values are seeded, so that every run sees the same. Whether they fit is found out by running the graph: shapes
that a graph leaves open are tried from the likeliest on.
"""

from __future__ import annotations

import io
import itertools
import math
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from icebreaker.data.informed import informed_values
from icebreaker.data.input_roles import input_roles
from icebreaker.data.source import LABELS, shape_fits
from icebreaker.data.weight_shapes import Meeting, filled, meetings
from icebreaker.errors import IcebreakerError
from icebreaker.graph.graph import Graph, Placeholder
from icebreaker.settings import ConvertSettings
from icebreaker.storage.files import check_file
from icebreaker.tensors import Tensor
from icebreaker.tf.session import GraphSession

Feeds = dict[str, np.ndarray]

# Lengths to try for open dimensions behind the batch: text and time steps, then image sides.
_LENGTHS = (8, 1, 2, 16)
_LONG = (100, 400, 1024, 4096, 16384)  # where shorter ones leave nothing to compute on
_SIDES = (224, 256, 128, 64, 368, 512, 32)
_MOST_TRIALS = 40
_MOST_OF_A_FLAVOUR = 4
# Flavours of values that are all the same number.
_NUMBERS: Mapping[str, int] = {"ones": 1, "none": 0, "large": 100, "negative": -1}
_WHOLE_NUMBERS = ("int32", "int64", "int16", "int8", "uint16", "uint32", "uint64")
_SECONDS = 5.0  # for a trial of a graph with loops: on made-up values, one may never end
_MOST_EMPTY = 8  # trials that give nothing: whether there is something may not hang on shapes
_MOST_OF_LONG = 1 << 22
_MOST_VALUES = 1 << 29  # of one input


def sample_run(
    original: GraphSession,
    graph: Graph,
    outputs: Sequence[Tensor],
    settings: ConvertSettings,
    batch: int = 1,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
) -> tuple[Feeds, dict[Tensor, np.ndarray]]:
    """Values for the placeholders that the outputs need, with which the graph runs, and what it gives then.

    Args:
        original: The graph in TensorFlow, for trial runs.
        graph: The same graph.
        outputs: What must come out.
        settings: `data`, `input_shapes` and the usual shapes of `profiles` are used.
        batch: Size of open first dimensions; with `data`, that many of its first rows, repeated if they are too few.
        shapes: Input name → the shape that its values must have; `data` is cut or repeated along every dimension.

    Returns:
        Canonical placeholder name → array; output → array.

    Raises:
        IcebreakerError: The user's values do not fit, or none could be made up.
    """
    failure, missing, shapes = "nothing fits", [], shapes or {}
    empty: tuple[Feeds, dict[Tensor, np.ndarray]] | None = None
    empties = 0
    seconds, endless = (_SECONDS if graph.has_control_flow else None), set[str]()
    # Inputs with a default are fed only where the graph does not run without: their defaults may come from an
    # iterator that is not there.
    for feed_optional in (False, True):
        inputs = _needed_inputs(graph, outputs, feed_optional)
        given = given_values(graph, inputs, settings, batch)
        given |= {name: _resized(name, given[name], shape) for name, shape in shapes.items() if name in given}
        missing = [item for item in inputs if item.name not in given and (feed_optional or not item.optional)]
        for flavour, trial in _trials(graph, original, missing, settings, batch, shapes):
            if flavour in endless:
                continue
            feeds = given | trial
            begun = time.perf_counter()
            try:
                results = original.run(outputs, feeds, seconds if trial else None)
            except Exception as error:
                failure = " ".join(str(error).split())
                if seconds is not None and time.perf_counter() - begun >= seconds:
                    failure = f"a loop did not end within {seconds:.0f} s"
                    endless.add(flavour)
                continue
            found = feeds, dict(zip(outputs, results, strict=True))
            if not trial or all(value.size for value in results):
                return found
            empty = empty or found  # a longer one may leave something to compare
            empties += 1
            if empties > _MOST_EMPTY:
                break
        if empty is not None:
            return empty
    if not missing:
        raise IcebreakerError(
            "values_fail", "the graph does not run on the values given: {reason}", reason=failure[:300]
        )
    names = ", ".join(item.name for item in missing)
    raise IcebreakerError(
        "no_values_fit", "no values could be made up for the input {subject}", "give_values",
        subject=names, reason=failure[:200],
    )  # fmt: skip


def _needed_inputs(graph: Graph, outputs: Sequence[Tensor], feed_optional: bool) -> list[Placeholder]:
    """Placeholders that the outputs need; what only a fed input's default would need is left out."""
    needed: set[str] = set()
    stack = [tensor.node for tensor in outputs]
    while stack:
        node = graph[stack.pop()]
        if node.name not in needed:
            needed.add(node.name)
            if not (feed_optional and node.op == "PlaceholderWithDefault"):
                stack.extend(tensor.node for tensor in node.inputs)
                stack.extend(node.controls)
    return [item for item in graph.placeholders if item.name in needed]


def given_values(graph: Graph, inputs: Sequence[Placeholder], settings: ConvertSettings, batch: int) -> Feeds:
    """The user's values for some inputs, from `settings.data`; empty without."""
    return {} if settings.data is None else read_values(Path(settings.data), graph, inputs, batch)


def read_values(path: Path, graph: Graph, inputs: Sequence[Placeholder], batch: int) -> Feeds:
    """Values for inputs from an `.npz`.

    Args:
        path: The archive: an array by the name of each input; `x`, `x:0` and `in|x` mean the same. Labels, outputs
            (`out|y`) and values for other nodes of the graph are left out.
        graph: The graph.
        inputs: Those of its inputs that are asked for.
        batch: What an open first dimension becomes: the first rows, repeated if they are too few; 0: all rows.

    Raises:
        IcebreakerError: The archive cannot be read, or has values that do not fit or belong nowhere.
    """
    try:
        check_file(path)
        with np.load(path, allow_pickle=False) as archive:
            values = {_input_name(key): archive[key] for key in archive.files if not key.startswith("out|")}
    except IcebreakerError:
        raise
    except Exception as error:  # what a damaged archive makes zipfile and numpy raise is not to be foretold
        raise IcebreakerError(
            "npz_unreadable", "{file} could not be read as .npz ({reason})", "save_with_savez",
            subject=path, file=str(path), reason=str(error),
        ) from error  # fmt: skip
    for name, value in values.items():
        if not isinstance(value, np.ndarray) or (value.size and not value.dtype.itemsize):
            raise IcebreakerError(
                "npz_no_array", "{file}: {subject} is no array", "save_file_with_savez", subject=name, file=str(path)
            )
    by_name = {item.name: item for item in inputs}
    given: Feeds = {}
    for name, value in values.items():
        if name not in by_name:
            if name in graph or name in LABELS:
                continue  # an input that these outputs do not need, or the right answers
            raise IcebreakerError(
                "values_for_no_input", "{file} has values for {subject!r}, which is no input of the graph",
                "its_inputs_are", subject=name, file=str(path), known=", ".join(by_name) or "none",
            )  # fmt: skip
        given[name] = _fit(by_name[name], value, batch, path)
    return given


def _input_name(key: str) -> str:
    """The canonical name of the input that an array of an archive is for; `in|` marks inputs of recorded runs."""
    return str(Tensor.parse(key.removeprefix("in|")))


def _fit(wanted: Placeholder, value: np.ndarray, batch: int, path: Path) -> np.ndarray:
    """The user's values in the input's type and, unless `batch` is 0, with that many rows where it leaves them open.

    Raises:
        IcebreakerError: Type or shape do not fit; `path` is named.
    """
    if wanted.dtype == "string":
        value = value.astype(object)
    elif value.dtype.kind in "OSU" or not np.can_cast(value.dtype, wanted.dtype, "same_kind"):
        raise IcebreakerError(
            "value_type_unfit", "{file}: {subject} is {dtype}, but the graph wants {wanted}",
            subject=wanted.name, file=str(path), dtype=str(value.dtype), wanted=wanted.dtype,
        )  # fmt: skip
    else:
        value = value.astype(wanted.dtype, copy=False)
    if wanted.shape is not None and not shape_fits(wanted.shape, value.shape):
        raise IcebreakerError(
            "value_shape_unfit", "{file}: {subject} has the shape {shape}, but the graph wants {wanted}",
            subject=wanted.name, file=str(path), shape=_times(value.shape), wanted=_times(wanted.shape),
        )  # fmt: skip
    if batch and wanted.shape and wanted.shape[0] is None and len(value):
        return value[:batch] if len(value) >= batch else np.resize(value, (batch, *value.shape[1:]))
    return value


def _resized(name: str, value: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Real values in another shape: cut where it is smaller, repeated where it is larger."""
    if value.ndim != len(shape) or not value.size:
        raise IcebreakerError(
            "value_rank_unfit", "{subject} has the shape {shape} in the data, and {wanted} is asked for",
            subject=name, shape=_times(value.shape) or "scalar", wanted=_times(shape) or "scalar",
        )  # fmt: skip
    return value[np.ix_(*(np.arange(want) % have for want, have in zip(shape, value.shape, strict=True)))]


def _times(shape: Sequence[int | None]) -> str:
    """A shape in words: `1×?×3`."""
    return "×".join("?" if size is None else str(size) for size in shape)


def _trials(
    graph: Graph,
    original: GraphSession,
    inputs: Sequence[Placeholder],
    settings: ConvertSettings,
    batch: int,
    shapes: Mapping[str, tuple[int, ...]],
) -> Iterator[tuple[str, Feeds]]:
    """Assignments of arrays to inputs, likeliest first: open dimensions of one length in all inputs, then mixed.

    Each comes with the flavour of its values; see `_values`.
    """
    options = [[shapes[item.name]] if item.name in shapes else _shapes(graph, item, settings, batch) for item in inputs]
    longest = max(map(len, options), default=1)
    together = [tuple(min(index, len(item) - 1) for item in options) for index in range(longest)]
    mixed = sorted(itertools.islice(itertools.product(*(range(len(item)) for item in options)), 500), key=sum)
    trials = list(itertools.product(dict.fromkeys([*together, *mixed]), _flavours(graph, inputs)))[:_MOST_TRIALS]
    if any(item.dtype in _WHOLE_NUMBERS for item in inputs):  # maybe positions, of which only 0 is sure to be there
        trials += [(choice, "zeros") for choice in dict.fromkeys(choice for choice, _ in trials)]
    if inputs and graph.has_control_flow:  # a loop may wait for numbers that are small, large or negative
        choices = list(dict.fromkeys(choice for choice, _ in trials))[:_MOST_OF_A_FLAVOUR]
        trials += [(choice, flavour) for flavour in _NUMBERS for choice in choices]
    roles = input_roles(graph, original) if any(flavour == "zeros" for _, flavour in trials) else {}
    for choice, flavour in trials:
        made = {
            # Sizes that are zero leave nothing to compute.
            item.name: _values(item, offered[index], "plain" if is_size and flavour == "zeros" else flavour)
            for item, offered, index in zip(inputs, options, choice, strict=True)
            for is_size in (roles.get(item.name) == "size",)
        }
        if better := informed_values(graph, made):
            yield flavour, made | better
        yield flavour, made


def _shapes(graph: Graph, item: Placeholder, settings: ConvertSettings, batch: int) -> list[tuple[int, ...]]:
    """Concrete shapes to try, likeliest first."""
    asked = settings.input_shapes.get(item.name)
    if asked is not None:
        if not shape_fits(item.shape, asked):
            raise IcebreakerError(
                "asked_shape_unfit", "shape {shape} does not fit the input {subject!r}",
                subject=item.name, shape=_times(asked),
            )  # fmt: skip
        return [tuple(asked)]
    if item.name in settings.profiles:
        usual = settings.profiles[item.name][1]
        is_open = usual and (item.shape is None or (item.shape and item.shape[0] is None))
        return [(batch, *usual[1:]) if is_open else usual]
    met = meetings(graph, item.name)
    if item.shape is None:
        sizes = _reshape_sizes(graph)
        likely = list(_of_weights(met, batch))
        return list(dict.fromkeys([
            *likely, (), (batch,), *((batch, size) for size in sizes), *((batch, side, side, 3) for side in _SIDES[:2])
        ]))  # fmt: skip
    if None not in item.shape:
        return [tuple(dim for dim in item.shape if dim is not None)]
    told = filled(item.shape, met)
    found = _of_open_shape(told, batch)
    return found if told == item.shape else list(dict.fromkeys([*found, *_of_open_shape(item.shape, batch)]))


def _of_weights(met: Sequence[Meeting], batch: int) -> Iterator[tuple[int, ...]]:
    """Shapes of an input of unknown rank that go with the weights which it meets."""
    for item in met:
        if item.rank is not None:
            yield from _of_open_shape((*filled((None,) * item.rank, [item]),), batch)[:_MOST_OF_A_FLAVOUR]


def _of_open_shape(shape: tuple[int | None, ...], batch: int) -> list[tuple[int, ...]]:
    """Concrete shapes for one with open dimensions, likeliest first."""
    if None not in shape[1:]:
        return [(batch if shape[0] is None else shape[0], *(dim for dim in shape[1:] if dim is not None))]
    picture = len(shape) == 4
    found = []
    for length in (*_SIDES, *_LENGTHS) if picture else _LENGTHS:
        first = batch if shape[0] is None else shape[0]
        found.append((first, *(length if dim is None else dim for dim in shape[1:])))
    found.append(tuple(batch if dim is None else dim for dim in shape))
    if not picture and None in shape[1:]:
        first = batch if shape[0] is None else shape[0]
        longer = ((first, *(length if dim is None else dim for dim in shape[1:])) for length in _LONG)
        found += [shape for shape in longer if math.prod(shape) <= _MOST_OF_LONG]
    return list(dict.fromkeys(found))


def _reshape_sizes(graph: Graph) -> list[int]:
    """Elements per row that the graph's Reshape targets and matrix products speak of: what a flat input may have."""
    sizes: dict[int, None] = {}
    for node in graph:
        if node.op in ("Reshape", "MatMul") and len(node.inputs) > 1:
            source = graph[node.inputs[1].node]
            while source.op == "Identity":
                source = graph[source.inputs[0].node]
            value = source.value
            if value is None:
                continue
            if node.op == "MatMul" and len(value.shape) == 2:
                sizes[value.shape[0]] = None
            elif node.op == "Reshape" and value.size:
                tensor = source.definition.attr["value"].tensor
                numbers = np.frombuffer(tensor.tensor_content, np.int32) if value.dtype == "int32" else ()
                if len(numbers) > 1 and (rest := math.prod(int(abs(n)) for n in numbers[1:])) > 1:
                    sizes[rest] = None
        elif node.op == "Pack":  # a Reshape target put together from the batch and constants
            sources = [graph[item.node] for item in node.inputs[1:]]
            # Looking up an attribute that is not there would add it to the message.
            parts: list[Any] = [n.definition.attr["value"].tensor.int_val if n.op == "Const" else () for n in sources]
            if parts and all(parts) and (rest := math.prod(abs(part[0]) for part in parts)) > 1:
                sizes[rest] = None
    return list(sizes)[:6]


def _flavours(graph: Graph, inputs: Sequence[Placeholder]) -> list[str]:
    """What text inputs may hold, likeliest first, for `_values`: encoded images or text; `plain` without any."""
    if any(item.dtype == "string" for item in inputs):
        ops = set(graph.op_counts) | {n.op for f in graph.definition.library.function for n in f.node_def}
        decodes = any(op.startswith("Decode") and op not in ("DecodeBase64", "DecodeRaw") for op in ops)
        return ["image", "text"] if decodes else ["text"]
    return ["plain"]


def _values(item: Placeholder, shape: tuple[int, ...], flavour: str) -> np.ndarray:
    """Made-up values for an input, the same for the same name.

    Args:
        item: The input.
        shape: The shape to make.
        flavour: `image` or `text` for text inputs; `zeros`: whole numbers are 0; one of `_NUMBERS`; `plain`.

    Raises:
        IcebreakerError: They would be too many, or there is no value of that type.
    """
    if math.prod(shape) > _MOST_VALUES:
        raise IcebreakerError(
            "input_too_large", "input {subject!r} would take {count:,} values", "give_smaller_shape",
            subject=item.name, count=math.prod(shape),
        )  # fmt: skip
    seed = zlib.crc32(item.name.encode())
    random = np.random.default_rng(seed)
    if flavour in _NUMBERS and (item.dtype in _WHOLE_NUMBERS or item.dtype.startswith("float")):
        number = _NUMBERS[flavour]
        return np.full(shape, max(number, 0) if item.dtype.startswith("uint") else number, item.dtype)
    match item.dtype:
        case "string":
            text = _png(random) if flavour == "image" else b"import os\nfor name in os.listdir('.'):\n    print(name)\n"
            return np.full(shape, text, object)
        case "bool":
            return np.zeros(shape, bool)
        case "uint8":
            return random.integers(0, 256, shape, np.uint8)
        case kind if kind in _WHOLE_NUMBERS:
            if flavour == "zeros":
                return np.zeros(shape, item.dtype)
            if len(shape) >= 3:  # a picture
                return random.integers(0, 256 if item.dtype != "int8" else 128, shape).astype(item.dtype)
            if len(shape) == 1:  # lengths of sequences: any of the tried lengths allows 1
                return np.ones(shape, item.dtype)
            return random.integers(1, 8, shape).astype(item.dtype)
        case "float32" | "float64" | "float16":
            # Scalars are keep probabilities, thresholds and scales: 1 switches most of them off.
            return np.ones(shape, item.dtype) if not shape else random.random(shape).astype(item.dtype)
        case _:
            raise IcebreakerError(
                "type_not_made_up", "input {subject!r} is {dtype}, for which no values can be made up",
                "give_file_of_values", subject=item.name, dtype=item.dtype,
            )  # fmt: skip


def _png(random: np.random.Generator) -> bytes:
    """A small grey picture, encoded; Pillow comes with the dependencies."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(random.integers(0, 256, (32, 32), np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def rows(feeds: Mapping[str, Any], graph: Graph) -> int:
    """How many rows some feeds have: the first dimension of the first input where the graph leaves it open.

    Without such an input, the first dimension of the first one that has any; 1 if all are scalars.
    """
    shapes = {item.name: item.shape for item in graph.placeholders}
    for name, value in feeds.items():
        shape = shapes.get(name, ())
        if np.ndim(value) and (shape is None or (shape and shape[0] is None)):
            return int(np.shape(value)[0])
    first = next((np.shape(value)[0] for value in feeds.values() if np.ndim(value)), 1)
    return int(first)
