"""The statistics on numbers whose answer is known, and real measurements of small graphs."""

import dataclasses
import itertools

import numpy as np
import pytest

from icebreaker import events
from icebreaker.benchmarking import benchmark, compare, graph_pair
from icebreaker.errors import IcebreakerError
from icebreaker.metrics import timing
from icebreaker.settings import ConvertSettings


def turns(rng, median, count=40, calls=12, drift=None):
    shared = np.ones(count) if drift is None else drift
    return [median * shared[i] * rng.lognormal(0, 0.05, calls) for i in range(count)]


def test_latency_of_known_calls():
    found = timing.latency(np.arange(1, 101, dtype=float), rows=8)
    assert list(dataclasses.astuple(found)) == pytest.approx([50.5, 90.1, 95.05, 99.01, 50.5, 8000 / 50.5, 100])


def test_speedup_is_the_ratio_of_the_medians():
    found = timing.speedup([np.array([4.0, 4.0, 100.0])] * 6, [np.array([2.0, 1.0, 2.0])] * 6)
    assert found.median == 2.0 and found.ci95 == (2.0, 2.0)


def test_interval_covers_the_truth_about_as_often_as_it_says():
    covered = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        low, high = timing.speedup(turns(rng, 3.0, 12, 5), turns(rng, 2.0, 12, 5), seed).ci95
        assert low < high < 1.1 * low
        covered += low <= 1.5 <= high
    assert covered >= 34


def test_what_slows_both_does_not_widen_the_interval():
    rng = np.random.default_rng(1)
    drift = np.repeat([1.0, 3.0], 20)  # the machine throttles half-way
    low, high = timing.speedup(turns(rng, 3.0, drift=drift), turns(rng, 2.0, drift=drift)).ci95
    assert low <= 1.5 <= high
    assert high / low < 1.6


def test_speedup_can_be_repeated():
    rng = np.random.default_rng(2)
    slow, fast = turns(rng, 3.0), turns(rng, 2.0)
    assert timing.speedup(slow, fast) == timing.speedup(slow, fast)


def test_rows_of_any_shape_are_joined():
    one, two = graph_pair.joined([np.zeros((1, 2)), np.ones((1, 2))], [np.zeros((1, 2)), np.ones((1, 2))])
    assert one.shape == two.shape == (2, 2)
    one, _ = graph_pair.joined([np.zeros((1, 2)), np.ones((1, 3))], [np.zeros((1, 2)), np.ones((1, 3))])
    assert one.shape == (5,)
    one, _ = graph_pair.joined([1.0, 2.0], [1.0, 2.0])
    assert one.tolist() == [1.0, 2.0]
    one, _ = graph_pair.joined([b"a\0", b"b"], [b"a\0", b"b"])
    assert one.tolist() == [b"a\0", b"b"]
    with pytest.raises(IcebreakerError, match="shape"):
        graph_pair.joined([np.zeros((1, 2)), np.zeros((1, 2))], [np.zeros((1, 2)), np.zeros((1, 3))])


@pytest.fixture(scope="module")
def graphs(tmp_path_factory):
    """Frozen graphs `deep` and `shallow` (the same values from less work), `off` (other values), `label` (text)."""
    import tensorflow as tf

    folder = tmp_path_factory.mktemp("graphs")
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(512, 512)))[0].astype("f4")

    def write(name, build):
        with tf.Graph().as_default() as graph:
            build(tf.compat.v1.placeholder("float32", (None, 512), "x"))
        (folder / f"{name}.pb").write_bytes(graph.as_graph_def().SerializeToString())

    def deep(x):
        for _ in range(20):  # ten turns and back: no optimizer sees that nothing happens
            x = tf.matmul(tf.matmul(x, turn), turn, transpose_b=True)
        tf.nn.relu(x, "y")

    write("deep", deep)
    write("shallow", lambda x: tf.nn.relu(tf.matmul(tf.matmul(x, turn), turn, transpose_b=True), "y"))
    write("off", lambda x: tf.nn.relu(x * 1.25, "y"))
    write("wide", lambda x: tf.nn.relu(tf.concat([x, x], 1), "y"))
    write("label", lambda x: tf.identity(tf.gather([b"no", b"yes"], tf.cast(x[:, 0] > 0.5, "int32")), "y"))
    return lambda name: str(folder / f"{name}.pb")


def test_one_graph_alone(graphs):
    heard = []
    found = benchmark.benchmark(graphs("deep"), batch=4, seconds=0.3, emit=heard.append)
    samples = [event for event in heard if isinstance(event, events.Sample)]
    assert found.optimized is None and found.speedup is None and not found.outputs
    assert 0 < found.original.p50_ms <= found.original.p90_ms <= found.original.p95_ms <= found.original.p99_ms
    assert found.batch == 4
    assert found.original.throughput == pytest.approx(4000 / found.original.mean_ms)
    assert {sample.series for sample in samples} == {"original"}
    assert 6 <= len(samples) <= found.original.samples
    assert [sample.seconds for sample in samples] == sorted(sample.seconds for sample in samples)
    fractions = [event.fraction for event in heard if isinstance(event, events.Progress)]
    assert fractions == sorted(fractions) and fractions[0] >= 0 and fractions[-1] <= 1


def test_two_graphs_in_turns(graphs):
    heard = []
    found = benchmark.benchmark(graphs("deep"), graphs("shallow"), batch=4, seconds=1.0, emit=heard.append)
    assert found.optimized and found.speedup
    low, high = found.speedup.ci95
    assert 2 < low <= found.speedup.median <= high
    assert found.speedup.median == pytest.approx(found.original.p50_ms / found.optimized.p50_ms)
    assert found.outputs["y"].max_rel < 1e-4 and found.outputs["y"].cosine == pytest.approx(1)
    series = [event.series for event in heard if isinstance(event, events.Sample)]
    changes = sum(a != b for a, b in itertools.pairwise(series))
    assert series[0] == "original" and changes >= 11  # six turns each at least


def test_compare_finds_what_differs(graphs):
    found = compare.compare(graphs("deep"), graphs("off")).outputs
    assert list(found) == ["y"]
    assert found["y"].max_rel == pytest.approx(0.25, rel=1e-3)
    assert found["y"].cosine == pytest.approx(1, abs=1e-6)
    assert found["y"].sqnr_db == pytest.approx(12.04, abs=0.05)
    assert compare.compare(graphs("label"), graphs("label")).outputs["y"].max_abs == 0


def test_compare_asks_every_row(graphs, tmp_path):
    rows = np.zeros((5, 512), "f4")
    rows[3, 7] = 2.0  # only here do the graphs differ
    np.savez(tmp_path / "data.npz", **{"x:0": rows})  # pyright: ignore[reportArgumentType]
    settings = ConvertSettings(data=str(tmp_path / "data.npz"))
    found = compare.compare(graphs("shallow"), graphs("off"), settings).outputs["y"]
    assert found.max_abs == pytest.approx(0.5, rel=1e-3)


def test_errors_name_what_is_wrong(graphs, tmp_path):
    with pytest.raises(IcebreakerError, match=r"output 'y': the output's shape is \[1, 1024\]"):
        compare.compare(graphs("shallow"), graphs("wide"))
    with pytest.raises(IcebreakerError, match="output 'z' is not in the graph: did you mean y"):
        benchmark.benchmark(graphs("deep"), settings=ConvertSettings(outputs=("z",)))
    with pytest.raises(IcebreakerError, match="does not exist"):
        benchmark.benchmark(graphs("missing"))
    with pytest.raises(IcebreakerError, match="batch 0"):
        benchmark.benchmark(graphs("deep"), batch=0)
    with pytest.raises(IcebreakerError, match="no time to measure"):
        benchmark.benchmark(graphs("deep"), seconds=float("nan"))
    np.savez(tmp_path / "data.npz", x=np.zeros((0, 512), "f4"))
    with pytest.raises(IcebreakerError, match="has no rows"):
        compare.compare(graphs("shallow"), graphs("off"), ConvertSettings(data=str(tmp_path / "data.npz")))
