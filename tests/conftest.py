"""What holds for every test: a cache of its own, and which tests are slow."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
# Folders and files whose tests convert graphs, load TensorFlow or an engine, or open the whole app: the tier `slow`.
# `make test-fast` passes over them without importing them. Those that take longest come first, so that no worker is
# left with one of them in the end.
SLOW = (
    "gui/test_main_window.py",
    "integration",
    "core/cli/test_jobs.py",
    "gui/session",
    "faults",
    "gui/test_soak.py",
    "gui/test_comparing.py",
    "gui/test_hands.py",
    "gui/test_habits.py",
    "core/quantization",
    "core/conversion",
    "core/tftrt",
    "core/test_api.py",
    "core/test_sample_models.py",
    "core/benchmarking",
    "core/engine",
    "core/export",
    "core/formats/test_keras.py",
    "core/formats/saved_model",
    "core/formats/shown",
    "core/data/test_hard_values.py",
    "core/data/test_informed.py",
    "core/graph/test_external_weights.py",
    "core/graph/test_random_ops.py",
    "core/graph/test_side_effects.py",
    "core/partitioning",
    "core/runtime",
    "core/storage/test_weight_store.py",
    "core/jobs/test_worker.py",
    "core/test_gpu.py",
    "core/test_telemetry.py",
    "core/tf",
    "fuzz",
    "op_conformance",
    "safety",
    "test_packaging.py",
)


def _tier(path: Path) -> int:
    """Where in `SLOW` a test's file stands; `len(SLOW)` for a fast one."""
    for place, name in enumerate(SLOW):
        if path.is_relative_to(TESTS / name):
            return place
    return len(SLOW)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Keeps what is not asked for from being imported, which alone takes long."""
    return True if config.option.markexpr == "not slow" and _tier(collection_path) < len(SLOW) else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the slow ones, and puts them first."""
    for item in items:
        if _tier(item.path) < len(SLOW):
            item.add_marker("slow")
    items.sort(key=lambda item: _tier(item.path))


@pytest.fixture(autouse=True, scope="session")
def _cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Nothing that a user's runs have left behind counts here, nor the other way round."""
    os.environ["ICEBREAKER_CACHE"] = str(tmp_path_factory.mktemp("cache"))
