"""Hard values of each type: what engines go wrong on."""

from __future__ import annotations

import numpy as np

import ml_dtypes  # isort: skip

WHOLE = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
FLOATS = ("float32", "float64", "float16", "bfloat16")
DTYPES = (*FLOATS, *WHOLE, "bool")
OTHERS = ("complex64", "complex128", "string")  # no segment has them; two ops of each kind tell


def numpy_type(name: str) -> np.dtype:
    """NumPy's type of that name."""
    return np.dtype(ml_dtypes.bfloat16) if name == "bfloat16" else np.dtype(name)


def is_float(name: str) -> bool:
    """Whether it is a type of floats."""
    return name in FLOATS


def small(name: str) -> np.ndarray:
    """Everyday values, negative ones and zero among them."""
    if name == "bool":
        return np.array([True, False, True, True, False, False])
    if name == "string":
        return np.array([b"a", b"Bc", b"", b"7", b"-1.5", b"a"])
    if name in OTHERS:
        return np.array([0, 1, -1, 1j, 1.5 - 2j, -3 + 0.5j], name)
    if name in WHOLE:
        values = [0, 1, 2, 3, 5, 7, 10, 100] + ([] if name.startswith("u") else [-1, -2, -3, -5, -7, -10, -100])
        return np.array(values, np.int64).astype(name)
    return np.array([0, 1, -1, 0.5, -0.5, 1.5, 2.5, -1.5, -2.5, 3, -3, 0.1, 7.3, -7.3, 0.25, 10], "f8").astype(
        numpy_type(name)
    )


def numbers(name: str, *shape: int, seed: int = 0) -> np.ndarray:
    """An array of everyday values, no two alike if they are floats."""
    if name in ("bool", *OTHERS):
        return np.resize(small(name), shape)
    random = np.random.default_rng(seed)
    if name in WHOLE:
        return random.integers(0 if name.startswith("u") else -9, 10, shape).astype(name)
    return random.normal(size=shape).astype(numpy_type(name))


def with_specials(name: str, *shape: int) -> list[np.ndarray]:
    """Arrays as `numbers` gives them, and of floats some with NaN, with infinity, and with tiny numbers."""
    made = [numbers(name, *shape)]
    for values in ([np.nan], [np.inf, -np.inf], [1e-8, -3e-7]) if is_float(name) else ():
        array = numbers(name, *shape)
        array.flat[:: max(array.size // 5, 1)] = np.resize(values, array.flat[:: max(array.size // 5, 1)].size)
        made.append(array)
    return made


def hard(name: str) -> list[np.ndarray]:
    """Sets of values at the ends of a type, and where floats stop telling whole numbers apart."""
    if name in ("bool", *OTHERS):
        return []
    if name in WHOLE:
        ends = np.iinfo(name)
        sets = [[ends.max, ends.min, ends.max - 1, ends.min + 1, 3, 7]]
        for bits in (24, 31, 53):
            if 2**bits + 1 < ends.max:
                numbers = [2**bits + 1, 2**bits, 2**bits + 3, 2**bits - 1]
                sets.append(numbers + ([] if ends.min == 0 else [-number for number in numbers]))
        return [np.array(values, object).astype(name) for values in sets]
    big = {"float16": 6e4, "float64": 1e300}.get(name, 3e38)
    tiny = {"float16": 6e-8, "float64": 1e-310}.get(name, 1e-40)
    sets = [
        [1e-8, -1e-8, 3e-7, -3e-7, 1e-4, -1e-4, 2e-3, 0.02, -0.02, 0.4],
        [tiny, -tiny, 0.0, -0.0, 1.0, 0.5],
        [big, -big, 1e4, -1e4, 100.0, -100.0, 88.0, -88.0, 20.0, -20.0],
        [np.inf, 1.0, -1.0, 0.0, 2.0, -np.inf],
        [np.nan, 1.0, -1.0, 0.0, np.nan, 2.0, 7.0],
    ]
    if name == "float32":
        sets.append([16777217.0, 16777216.0, 8388609.5, -8388609.5, 4194304.5, 2147483648.0])
    return [np.array(values, "f8").astype(numpy_type(name)) for values in sets]
