"""What a call gives a graph, checked against the graph's own inputs before native code sees it.

TensorFlow's fast way into a session (`make_callable`) checks neither dtype nor shape; its kernels, and engines, may end
the process over what they do not expect. Values are cast as `Session.run` casts them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from icebreaker.errors import IcebreakerError
from icebreaker.graph.graph import Placeholder

_MOST_WORDS = 200  # of numpy's


def numpy_type(name: str) -> Any:
    """NumPy's type for one of TensorFlow's, by name; raises TypeError if NumPy has none."""
    import ml_dtypes

    return np.dtype(object if name == "string" else getattr(ml_dtypes, name, name))


def shape_words(shape: Sequence[int | None] | None) -> str:
    """A shape such as `?×224×224×3`."""
    if shape is None:
        return "any"
    return "×".join("?" if dim is None else str(dim) for dim in shape) or "scalar"


def fits(shape: Sequence[int | None] | None, given: Sequence[int | None]) -> bool:
    """Whether a shape is one that `shape`, which may have open dimensions, allows."""
    return shape is None or (
        len(shape) == len(given) and all(None in pair or pair[0] == pair[1] for pair in zip(shape, given, strict=True))
    )


class InputCheck:
    """Makes what a call gives for one input the array that TensorFlow would be fed, or says why that cannot be."""

    def __init__(self, item: Placeholder) -> None:
        """Checks against the dtype and the shape of this input."""
        self._item, self._shape = item, item.shape
        self._is_text = item.dtype == "string"
        try:
            self._dtype = numpy_type(item.dtype)
        except TypeError:  # a resource, for one
            self._dtype = None

    def __call__(self, value: Any) -> np.ndarray:
        """The array.

        Raises:
            IcebreakerError: There is no value, it is none of the input's type, or of another shape.
        """
        if type(value) is np.ndarray and value.dtype == self._dtype and not self._is_text:
            array = value
        else:
            array = self._converted(value)
        self._check_shape(array.shape)
        return array

    def check_tensor(self, tensor: Any) -> None:
        """Checks a tensor that stays where it is, as one of TensorFlow, or on a GPU; raises what a call raises."""
        dtype, shape = getattr(tensor, "dtype", None), getattr(tensor, "shape", None)
        if dtype is not None:
            name = str(getattr(dtype, "name", None) or str(dtype).rpartition(".")[2])
            if name != self._item.dtype:
                raise self._unfit(f"a tensor of {name}")
        shape = shape() if callable(shape) else shape  # ONNX Runtime's is a method
        if shape is not None and getattr(shape, "rank", 0) is not None:  # else TensorFlow does not know it yet
            self._check_shape(shape.as_list() if hasattr(shape, "as_list") else tuple(shape))

    def _converted(self, value: Any) -> np.ndarray:
        if value is None:
            raise IcebreakerError("input_missing", "no value given for the input {subject!r}", subject=self._item.name)
        try:
            if self._is_text:
                array = np.asarray(value, object)
            else:
                raw = value if isinstance(value, np.ndarray | np.generic) else np.asarray(value)
                self._check_kind(raw)
                array = np.asarray(value, self._dtype)
        except IcebreakerError:
            raise
        except Exception as error:  # whatever a stranger's object raises
            raise self._unfit(_described(value), str(error)[:_MOST_WORDS]) from error
        if self._is_text:
            self._check_texts(array)
        elif isinstance(value, int) and array != value:  # `Session.run` refuses a single one like that, too
            raise self._unfit(str(value)[:_MOST_WORDS], "it would be another number")
        return array

    def _check_kind(self, raw: np.ndarray | np.generic) -> None:
        """Numbers only: numpy makes NaN of None, and numbers of texts and dates."""
        if self._dtype is None:
            raise self._unfit(_described(raw))
        kind, takes_complex = raw.dtype.kind, self._dtype.kind == "c"
        if kind == "O":
            odd = next(
                (item for item in np.ravel(raw) if not isinstance(item, int | float | np.number | np.bool)), None
            )
            if odd is not None or any(item is None for item in np.ravel(raw)):
                raise self._unfit("an array with " + _described(odd))
        elif not (kind in "biuf" or (kind == "c" and takes_complex) or raw.dtype.type.__module__ == "ml_dtypes"):
            raise self._unfit(_described(raw))

    def _check_texts(self, array: np.ndarray) -> None:
        for item in array.flat:
            if isinstance(item, str):
                try:
                    item.encode()
                except UnicodeEncodeError as error:
                    raise self._unfit("a text", "it is no Unicode") from error
            elif not isinstance(item, bytes):
                raise self._unfit(_described(item))

    def _check_shape(self, given: Sequence[int | None]) -> None:
        wanted = self._shape
        if fits(wanted, given):
            return
        raise IcebreakerError(
            "input_shape_wrong", "the input {subject!r} takes {dtype} of shape {wanted}, but was given {given}",
            "add_first_dimension" if wanted and fits(wanted[1:], given) else "give_its_shape",
            subject=self._item.name, dtype=self._item.dtype, wanted=shape_words(wanted), given=shape_words(given),
        )  # fmt: skip

    def _unfit(self, given: str, why: str = "") -> IcebreakerError:
        return IcebreakerError(
            "input_not_taken",
            "the input {subject!r} takes {dtype} of shape {wanted}, but was given {given}",
            "give_its_type", subject=self._item.name, dtype=self._item.dtype, wanted=shape_words(self._shape),
            given=f"{given} ({why})" if why else given,
        )  # fmt: skip


def _described(value: Any) -> str:
    """What sort of value it is, without its content."""
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype}"
    return "None" if value is None else f"a value of type {type(value).__name__}"
