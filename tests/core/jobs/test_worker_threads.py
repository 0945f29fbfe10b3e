"""A worker that may use some of the processor's cores only."""

from __future__ import annotations

import os

import pytest

from icebreaker.errors import IcebreakerError
from icebreaker.jobs import worker
from icebreaker.settings import Limits


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="only Linux binds a process to cores")
def test_it_keeps_to_so_many_cores() -> None:
    if not (child := os.fork()):
        worker._bind(1)
        os._exit(len(os.sched_getaffinity(0)))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1


def test_there_is_one_at_least() -> None:
    with pytest.raises(IcebreakerError, match="too few"):
        Limits(threads=0)
    assert Limits().threads is None
