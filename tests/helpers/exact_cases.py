"""Networks in which floats are names and places: in 16 bits they give other words, pixels, counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from helpers.onnx_models import model

_rng = np.random.default_rng(7)
_ids = _rng.integers(0, 30000, (4, 20))
_IDS = _ids.astype(np.float32)
_FEATURES = _rng.normal(size=(4, 64, 8)).astype(np.float32)
_TABLE = _rng.normal(size=(30000, 8)).astype(np.float32)
_WEIGHTS = _rng.normal(size=(8, 8)).astype(np.float32)
_AXIS = np.array([-1])
_DEEP = "w1 = MatMul (%s, w)\n w2 = Relu (w1)\n y = MatMul (w2, w)"  # so that no output is near the end


@dataclass(frozen=True)
class Case:
    """A model, and what to feed it; its outputs are right only if the names in it are exact."""

    text: str
    inputs: tuple[np.ndarray, ...]
    constants: Mapping[str, npt.ArrayLike] = field(default_factory=dict[str, npt.ArrayLike])

    def model(self) -> bytes:
        """The serialized ONNX model."""
        return model(f"net {self.text}", **self.constants)


def _looked_up(body: str, inputs: str = "float[4,20] ids") -> str:
    """A table look-up by `i`, which `body` makes, and a network behind it."""
    return f"({inputs}) => (float[N,T,8] y) {{ {body}\n x = Gather (table, i)\n {_DEEP % 'x'} }}"


_LOOKUP = {"table": _TABLE, "w": _WEIGHTS}
CASES: Mapping[str, Case] = {
    "ids that are cast": Case(_looked_up("i = Cast <to = 7> (ids)"), (_IDS,), _LOOKUP),
    "ids that are shifted and clipped": Case(
        _looked_up("a = Add (ids, one)\n b = Clip (a, zero, most)\n c = Floor (b)\n i = Cast <to = 6> (c)"), (_IDS,),
        {**_LOOKUP, "one": np.float32(1), "zero": np.float32(0), "most": np.float32(29999)},
    ),
    "ids in buckets": Case(
        _looked_up("p = Mul (ids, prime)\n m = Mod <fmod = 1> (p, most)\n i = Cast <to = 7> (m)"),
        (_IDS,), {**_LOOKUP, "prime": np.float32(31), "most": np.float32(29989)},
    ),
    "ids of pairs, by a product": Case(
        _looked_up("p = MatMul (pairs, pair)\n q = Squeeze (p, axis)\n i = Cast <to = 7> (q)", "float[4,20,2] pairs"),
        (_rng.integers(0, 170, (4, 20, 2)).astype(np.float32),),
        {**_LOOKUP, "pair": np.array([[170], [1]], np.float32), "axis": _AXIS},
    ),
    "ids compared": Case(
        f"(float[4,20] ids) => (float[4,8] y) {{ e = Equal (ids, ids_wanted)\n f = Cast <to = 1> (e)\n"
        f"x = MatMul (f, lift)\n {_DEEP % 'x'} }}",
        (_IDS,), {"ids_wanted": _IDS + (np.arange(20) % 3 == 0), "lift": np.ones((20, 8), np.float32), "w": _WEIGHTS},
    ),
    "positions counted by CumSum": Case(
        _looked_up(
            "e = Greater (ids, zero)\n f = Cast <to = 1> (e)\n c = CumSum (f, first)\n"
            "m = Mul (c, f)\n i = Cast <to = 7> (m)", "float[2,600] ids",
        ),
        (_rng.integers(0, 4, (2, 600)).astype(np.float32),), {**_LOOKUP, "zero": np.float32(0), "first": np.int64(1)},
    ),
    "the last of so many": Case(
        f"(int64[4,600] mask, float[4,600,8] x) => (float[4,8] y) {{ f = Cast <to = 1> (mask)\n"
        f"n = ReduceSum <keepdims = 0> (f, axis)\n l = Sub (n, one)\n i = Cast <to = 7> (l)\n u = Unsqueeze (i, axis)\n"
        f"g = GatherND <batch_dims = 1> (x, u)\n {_DEEP % 'g'} }}",
        ((np.arange(600) < np.array([[599], [301], [258], [513]])).astype(np.int64),
         _rng.normal(size=(4, 600, 8)).astype(np.float32)),
        {"axis": _AXIS, "one": np.float32(1), "w": _WEIGHTS},
    ),
    "coordinates that were learned a little": Case(
        f"(float[4,2] z, float[1000,8] x) => (float[4,8] y) {{ t = MatMul (z, turn)\n s = Tanh (t)\n"
        f"a = Mul (s, half)\n b = Add (a, middle)\n f = Floor (b)\n r = Sub (b, f)\n c = Cast <to = 7> (f)\n"
        f"d = Squeeze (c, axis)\n e = Gather (x, d)\n h = Add (e, r)\n {_DEEP % 'h'} }}",
        (_rng.normal(size=(4, 2)).astype(np.float32), _rng.normal(size=(1000, 8)).astype(np.float32)),
        {"turn": _rng.normal(size=(2, 1)).astype(np.float32), "half": np.float32(499.3), "middle": np.float32(499.7),
         "axis": _AXIS, "w": _WEIGHTS},
    ),
    "sines of time": Case(
        f"(float[4,1] t) => (float[4,8] y) {{ a = MatMul (t, rates)\n s = Sin (a)\n {_DEEP % 's'} }}",
        (np.array([[999], [431.5], [77], [650]], np.float32),),
        {"rates": (0.5 ** np.arange(8, dtype=np.float32))[None], "w": _WEIGHTS},
    ),
    "sines of positions": Case(
        f"(int64[3] p) => (float[3,8] y) {{ f = Cast <to = 1> (p)\n u = Unsqueeze (f, axis)\n a = Mul (u, rates)\n"
        f"s = Cos (a)\n {_DEEP % 's'} }}",
        (np.array([1001, 513, 777]),),
        {"axis": _AXIS, "rates": 0.7 ** np.arange(8, dtype=np.float32)[None], "w": _WEIGHTS},
    ),
    "a shape from floats": Case(
        f"(float s, float[1,8] x) => (float[N,8] y) {{ r = Mul (s, two)\n c = Ceil (r)\n i = Cast <to = 7> (c)\n"
        f"u = Unsqueeze (i, zero)\n n = Concat <axis = 0> (u, eight)\n e = Expand (x, n)\n {_DEEP % 'e'} }}",
        (np.array(150.3, np.float32), _rng.normal(size=(1, 8)).astype(np.float32)),
        {"two": np.float32(2), "zero": np.array([0]), "eight": np.array([8]), "w": _WEIGHTS},
    ),
    "the greatest id": Case(
        f"(float[4,20] ids) => (float[4,8] y) {{ i = ArgMax <axis = 1, keepdims = 0> (ids)\n"
        f"x = Gather (table, i)\n {_DEEP % 'x'} }}",
        (_rng.permutation(80).reshape(4, 20).astype(np.float32) + 20000,), {**_LOOKUP, "table": _TABLE[:20]},
    ),
    "ids handed on": Case(
        "(float[4,20] ids, float[4,20] x) => (float[4,40] y) { a = Add (ids, one)\n y = Concat <axis = 1> (a, x) }",
        (_IDS, _IDS + 1), {"one": np.float32(1)},
    ),
    "a histogram": Case(
        "(int64[2,900] ids) => (float[2,8] y) { h = OneHot <axis = -1> (ids, depth, values)\n"
        "y = ReduceSum <keepdims = 0> (h, axis) }",
        ((np.arange(1800).reshape(2, 900) % 900 < 777).astype(np.int64) * 3,),
        {"depth": np.int64(8), "values": np.array([0, 1], np.float32), "axis": np.array([1])},
    ),
    "ids of segments in a branch": Case(
        f"(float[4,20] ids, bool c) => (float[4,20,8] y) {{ a = Mul (ids, one)\n"
        f"i = If (c) <then_branch = t () => (int64[4,20] o) {{ o = Cast <to = 7> (a) }},"
        f" else_branch = e () => (int64[4,20] p) {{ q = Add (a, a)\n p = Cast <to = 7> (q) }}>\n"
        f"x = Gather (table, i)\n {_DEEP % 'x'} }}",
        (_IDS, np.array(True)), {**_LOOKUP, "one": np.float32(1)},
    ),
}  # fmt: skip

# Where numbers are measurements: they stay in 16 bits.
SCORES: Mapping[str, Case] = {
    "the best of scores": Case(
        f"(float[4,64,8] x) => (int64[4,64] i) {{ {_DEEP % 'x'}\n i = ArgMax <axis = -1, keepdims = 0> (y) }}",
        (_FEATURES,), {"w": _WEIGHTS},
    ),
    "scores above a limit": Case(
        f"(float[4,64,8] x) => (bool[4,64,8] b) {{ {_DEEP % 'x'}\n s = Sigmoid (y)\n b = Greater (s, half) }}",
        (_FEATURES,), {"w": _WEIGHTS, "half": np.float32(0.5)},
    ),
    "features by a mask": Case(
        f"(float[4,64,8] x, bool[4,64,1] b) => (float[4,64,8] z) {{ m = Cast <to = 1> (b)\n {_DEEP % 'x'}\n"
        f"d = Mul (y, m)\n z = MatMul (d, w) }}",
        (_FEATURES, _FEATURES[:, :, :1] > 0), {"w": _WEIGHTS},
    ),
}  # fmt: skip
