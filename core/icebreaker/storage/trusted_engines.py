"""Which engines this user built on this machine: native code from elsewhere is not loaded without a yes.

A note says so for each, with a digest that takes this user's key to make: whoever can bring a file into the cache
folder, or put one's link there, cannot make an engine trusted.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable
from dataclasses import astuple, dataclass

from icebreaker.storage import cache

_BUILT_HERE = "engines"  # notes in the cache folder
_MOST_REMEMBERED = 2000


@dataclass(frozen=True)
class BuiltEngine:
    """What is trusted: this payload, for this engine in this precision.

    Attributes:
        engine: The engine's name.
        precision: What it computes in.
        sha256: Hex digest of its serialized form.
    """

    engine: str
    precision: str
    sha256: str

    @property
    def statement(self) -> bytes:
        """All of it as bytes."""
        return json.dumps(astuple(self)).encode()


def remember_engines(engines: Iterable[BuiltEngine]) -> None:
    """Notes in the user's cache folder that engines were built here; the latest 2,000 are remembered."""
    if key := cache.secret():
        for engine in engines:
            cache.write_note(_BUILT_HERE, _name(engine), {"proof": _proof(key, engine)})
        cache.keep_latest(_BUILT_HERE, _MOST_REMEMBERED)


def built_here(engine: BuiltEngine) -> bool:
    """True if this user built the engine on this machine."""
    note = cache.read_note(_BUILT_HERE, _name(engine))
    if note is None or not isinstance(proof := note.get("proof"), str) or not (key := cache.secret()):
        return False
    return hmac.compare_digest(proof.encode("utf-8", "replace"), _proof(key, engine).encode())


def _name(engine: BuiltEngine) -> str:
    return hashlib.sha256(engine.statement).hexdigest()


def _proof(key: bytes, engine: BuiltEngine) -> str:
    return hmac.new(key, engine.statement, hashlib.sha256).hexdigest()
