"""Which engines this user built on this machine: native code from elsewhere is not loaded without a yes."""

from __future__ import annotations

from collections.abc import Iterable

from icebreaker.storage import cache

_BUILT_HERE = "engines"  # notes in the cache folder
_MOST_REMEMBERED = 2000


def remember_engines(digests: Iterable[str]) -> None:
    """Notes in the user's cache folder that engines were built here; the latest 2,000 are remembered.

    Args:
        digests: Hex digests of the SHA-256 of the engines' serialized forms.
    """
    for digest in digests:
        cache.write_note(_BUILT_HERE, digest, {})
    cache.keep_latest(_BUILT_HERE, _MOST_REMEMBERED)


def built_here(digest: str) -> bool:
    """True if this user built the engine with this SHA-256 on this machine."""
    return digest.isascii() and digest.isalnum() and cache.read_note(_BUILT_HERE, digest) is not None
