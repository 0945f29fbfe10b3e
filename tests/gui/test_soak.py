"""The soak of an hour, in one minute: threads, processes, files, Qt objects and memory after some rounds of use."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from helpers.paths import ROOT
from helpers.processes import environment


@pytest.mark.skipif("ICEBREAKER_SOAK" not in os.environ, reason="a minute long: CI runs it, and `make soak`")
def test_nothing_piles_up() -> None:
    command = [sys.executable, "-m", "benchmarks.soak", "--seconds", "60", "--rounds", "8"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200, env=environment(), cwd=ROOT)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert done.stdout.endswith("nothing has piled up\n")
