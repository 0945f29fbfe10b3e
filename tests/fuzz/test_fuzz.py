"""A few seconds of what `make fuzz` does for longer: no damaged input gets further than a one-line error."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz import fuzz
from helpers.processes import environment
from icebreaker.errors import IcebreakerError

_SECONDS = os.environ.get("ICEBREAKER_FUZZ_SECONDS", "15")


def test_damaged_inputs_end_in_a_result_or_in_one_line() -> None:
    """In a process of its own, whose memory is limited."""
    # Another seed each day, so that days of CI see more than one would.
    script = [sys.executable, "-m", "fuzz.fuzz", "--seconds", _SECONDS, "--seed", "today"]
    done = subprocess.run(script, capture_output=True, text=True, env=environment())
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.filterwarnings("ignore")  # zipfile's, about names that occur twice, and the like
@settings(
    max_examples=20 * round(float(_SECONDS)), deadline=None, database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip
@given(target=st.sampled_from(fuzz.targets()), chance=st.randoms(use_true_random=False))
def test_damage_that_hypothesis_chooses(target: fuzz.Target, chance: random.Random) -> None:
    """Fewer inputs than the other, but hypothesis likes extremes, and makes the damage of a finding small.

    Time and memory are looked at in the other: here they would be those of hypothesis, too.
    """
    with tempfile.TemporaryDirectory() as folder:
        fuzz.place_weights(Path(folder))
        path = Path(folder) / f"input{target.suffix}"
        path.write_bytes(target.damage(chance, chance.choice(target.seeds), target.seeds))
        try:
            target.read(path)
        except IcebreakerError as error:
            assert fuzz.is_fit_for_people(error)
