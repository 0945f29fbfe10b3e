"""Calibration data: what each source gives, and what is refused before anything runs."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from icebreaker.data.dataset import Input, open_data
from icebreaker.errors import IcebreakerError
from icebreaker.preprocessing import Preprocessing

PIXELS = Input("image:0", "float32", (None, 4, 6, 3))
VECTOR = Input("x", "float32", (None, 5))


def rows(data):
    return np.concatenate([next(iter(batch.values())) for batch in data])


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for k in range(20):
        colour = (10 * k, 255 - 10 * k, 7)
        Image.new("RGB", (12, 8), colour).save(folder / ("more" if k % 2 else ".") / f"{k:02}.png")
    return folder


def test_a_folder_of_images(photos: Path):
    data = open_data(photos, [PIXELS])
    assert data.samples == 20 and any("guessed" in str(note) and "6×4" in str(note) for note in data.notes)
    values = rows(data)
    assert values.shape == (20, 4, 6, 3) and values.dtype == np.float32
    # Files of the folder itself come first, by name: 00, 02, …
    np.testing.assert_allclose(values[1, 2, 3], np.array([20, 235, 7]) / 255, atol=1e-6)
    assert (rows(data) == values).all(), "reading again gives the same"
    assert any("only 20 samples" in str(text) for text in data.warnings)
    few = open_data(photos, [PIXELS], samples=10, seed=1)
    assert len(rows(few)) == 10 and "seed 1" in str(few.notes[0])


def test_preprocessing_as_stated_and_as_the_network_sees_it():
    picture = Image.new("RGB", (40, 20), (0, 0, 0))
    picture.paste((200, 100, 50), (10, 0, 30, 20))  # exactly the middle square
    how = Preprocessing(8, 8, "BGR", "NCHW", mean=(104.0, 117.0, 123.0), std=(1.0,))
    value = how.apply(picture)
    assert value.shape == (3, 8, 8)
    np.testing.assert_allclose(value[:, 4, 4], [50 - 104, 100 - 117, 200 - 123])
    assert (how.visible(value)[1:-1, 1:-1] == [200, 100, 50]).all()
    stretched = Preprocessing(8, 8, crop="stretch").apply(picture)
    assert stretched[4, 0].max() == 0, "stretching keeps the black sides"
    glass = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    assert (Preprocessing(8, 8, "L").apply(glass) == 1).all(), "transparent becomes white"


@pytest.mark.parametrize(
    ("shape", "dtype", "expected"),
    [
        ((None, 224, 192, 3), "float32", "192×224, cropped at the center, RGB, NHWC, values from 0 to 1"),
        ((1, 3, 416, 416), "float32", "416×416, cropped at the center, RGB, NCHW, values from 0 to 1"),
        ((None, None, None, 3), "uint8", "224×224, cropped at the center, RGB, NHWC, values from 0 to 255"),
        ((None, 28, 28, 1), "float32", "28×28, cropped at the center, grey, NHWC, values from 0 to 1"),
        ((None, 784), "float32", None),
        ((None, 40, 1, 80), "float32", None),
        (None, "float32", None),
    ],
)
def test_guesses(shape, dtype, expected):
    guess = Preprocessing.guess(shape, dtype)
    assert (str(guess) if guess else None) == expected


def test_arrays_stream_by_name(tmp_path: Path):
    random = np.random.default_rng(0)
    left, right = random.normal(size=(30, 5)).astype("f8"), random.integers(0, 9, (30, 2))
    np.savez_compressed(
        tmp_path / "data.npz", **{"b:0": right, "a": left, "rate": np.float32(0.5), "labels": np.arange(30)}
    )
    inputs = [Input("a", "float32", (None, 5)), Input("b", "int32", (None, 2)), Input("rate", "float32", ())]
    data = open_data(tmp_path / "data.npz", inputs, batch=7)
    assert [len(batch["a"]) for batch in data] == [7, 7, 7, 7, 2]
    np.testing.assert_array_equal(np.concatenate([batch["b"] for batch in data]), right)
    np.testing.assert_array_equal(np.concatenate([batch["a"] for batch in data]), left.astype("f4"))
    assert all(batch["rate"] == np.float32(0.5) and batch["b"].dtype == np.int32 for batch in data)
    some = open_data(tmp_path / "data.npz", inputs, samples=12, seed=3)
    assert some.labels is not None
    np.testing.assert_array_equal(np.concatenate([batch["b"] for batch in some]), right[some.labels])
    learn, judge = data.split()
    assert learn.samples + judge.samples == 30 and learn.labels is not None and judge.labels is not None
    np.testing.assert_array_equal(np.concatenate([batch["b"] for batch in judge]), right[judge.labels])
    assert not set(learn.labels) & set(judge.labels)


@pytest.mark.parametrize("order", ["C", "F"])
def test_one_array_needs_no_name_and_a_fixed_batch_gets_whole_batches(tmp_path: Path, order):
    value = np.asarray(np.random.default_rng(0).normal(size=(21, 5)).astype("f4"), order=order)
    np.save(tmp_path / "x.npy", value)
    np.testing.assert_array_equal(rows(open_data(tmp_path / "x.npy", [VECTOR])), value)
    fixed = open_data(tmp_path / "x.npy", [Input("x", "float32", (4, 5))])
    assert [batch["x"].shape for batch in fixed] == [(4, 5)] * 5


def write_records(path: Path, records: list[bytes], opener=open):
    with opener(path, "wb") as stream:
        for record in records:
            stream.write(struct.pack("<QI", len(record), 0) + record + struct.pack("<I", 0))


@pytest.mark.slow
def test_tfrecords_as_tensorflow_writes_them(tmp_path: Path):
    tf = pytest.importorskip("tensorflow")
    value = np.random.default_rng(0).normal(size=(10, 5)).astype("f4")
    path = tmp_path / "data.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for k, row in enumerate(value):
            features = {
                "x": tf.train.Feature(float_list=tf.train.FloatList(value=row)),
                "raw": tf.train.Feature(bytes_list=tf.train.BytesList(value=[row.tobytes()])),
                "count": tf.train.Feature(int64_list=tf.train.Int64List(value=[-k])),
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
    inputs = [VECTOR, Input("raw", "float32", (None, 5)), Input("count", "int32", (None,))]
    batches = list(open_data(path, inputs))
    np.testing.assert_array_equal(np.concatenate([batch["x"] for batch in batches]), value)
    np.testing.assert_array_equal(np.concatenate([batch["raw"] for batch in batches]), value)
    assert np.concatenate([batch["count"] for batch in batches]).tolist() == [-k for k in range(10)]
    packed = tmp_path / "packed.tfrecord"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    np.testing.assert_array_equal(rows(open_data(packed, [VECTOR])), value)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(IcebreakerError, match="cut off"):
        open_data(path, [VECTOR])


@pytest.mark.slow
def test_images_in_tfrecords(tmp_path: Path, photos: Path):
    tf = pytest.importorskip("tensorflow")
    path = tmp_path / "images.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for file in sorted(photos.rglob("*.png")):
            feature = {
                "image/encoded": tf.train.Feature(bytes_list=tf.train.BytesList(value=[file.read_bytes()])),
                "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[1])),
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
    np.testing.assert_array_equal(rows(open_data(path, [PIXELS])), rows(open_data(photos, [PIXELS])))
    coded = [Input("image/encoded", "string", (None,))]  # a graph that decodes images itself
    np.testing.assert_array_equal(rows(open_data(path, coded)), rows(open_data(photos, coded)))


def test_a_python_file_runs_only_when_allowed(tmp_path: Path):
    path = tmp_path / "mine.py"
    path.write_text(
        "import numpy as np\nopen(__file__ + '.ran', 'w').close()\n"
        "def batches():\n    for k in range(6):\n        yield {'x': np.full((4, 5), k, 'float64')}\n"
    )
    with pytest.raises(IcebreakerError, match="allow"):
        open_data(path, [VECTOR])
    assert not path.with_name("mine.py.ran").exists()
    data = open_data(path, [VECTOR], allow_code=True, samples=10)
    values = rows(data)
    assert values.shape == (10, 5) and values[9, 0] == 2 and values.dtype == np.float32
    path.write_text("def batches():\n    yield 1 / 0\n")
    with pytest.raises(IcebreakerError, match="line 2: ZeroDivisionError"):
        open_data(path, [VECTOR], allow_code=True)
    path.write_text("x = 1\n")
    with pytest.raises(IcebreakerError, match="no function batches"):
        open_data(path, [VECTOR], allow_code=True)


def test_random_data_warns():
    data = open_data("random", [VECTOR, Input("k", "int32", ())], samples=20)
    assert len(rows(data)) == 20 and "mean nothing" in str(data.warnings[0])
    assert (rows(data) == rows(data)).all()


GOOD = np.random.default_rng(0).normal(size=(20, 5)).astype("f4")


@pytest.mark.parametrize(
    ("arrays", "text"),
    [
        ({"x": GOOD[:3]}, "3 samples: give at least 8"),
        ({"x": GOOD[:0]}, "0 samples"),
        ({"x": GOOD[:, :4]}, r"wants the shape \[any, 5\], but the data has \[20, 4\]"),
        ({"x": GOOD[0]}, r"the data has \[5\]"),
        ({"x": np.where(np.arange(100).reshape(20, 5) == 77, np.nan, GOOD)}, "sample 16.*NaN"),
        ({"x": np.zeros((20, 5), "f4")}, "every value for input x is 0"),
        ({"x": GOOD.astype("S8")}, "wants float32, but the data is"),
        ({"x": np.array([[None] * 5] * 20)}, "Python objects"),
        ({"p": GOOD, "q": GOOD}, "no values for input x: it has p, q"),
    ],
)
def test_bad_arrays_are_refused(tmp_path: Path, arrays, text):
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(IcebreakerError, match=text) as caught:
        open_data(tmp_path / "bad.npz", [VECTOR])
    assert "\n" not in str(caught.value)


def test_bad_files_are_refused(tmp_path: Path, photos: Path):
    with pytest.raises(IcebreakerError, match="does not exist"):
        open_data(tmp_path / "nothing", [VECTOR])
    (tmp_path / "broken.npz").write_bytes(b"PK nothing")
    with pytest.raises(IcebreakerError, match="cannot be read as arrays"):
        open_data(tmp_path / "broken.npz", [VECTOR])
    (tmp_path / "notes.txt").write_text("no data")
    with pytest.raises(IcebreakerError, match="no calibration data"):
        open_data(tmp_path / "notes.txt", [VECTOR])
    (tmp_path / "folder").mkdir()
    with pytest.raises(IcebreakerError, match="no images"):
        open_data(tmp_path / "folder", [PIXELS])
    with pytest.raises(IcebreakerError, match="are not one image"):
        open_data(photos, [PIXELS, VECTOR])
    (photos / "00.png").write_bytes(b"not a picture")
    with pytest.raises(IcebreakerError, match=r"00\.png is no image"):
        open_data(photos, [PIXELS])
    write_records(tmp_path / "odd.tfrecord", [b"\xff\xff\xff"] * 9)
    with pytest.raises(IcebreakerError, match=r"no tf\.Example"):
        open_data(tmp_path / "odd.tfrecord", [VECTOR])
    np.save(tmp_path / "half.npy", GOOD)
    (tmp_path / "half.npy").write_bytes((tmp_path / "half.npy").read_bytes()[:-30])
    with pytest.raises(IcebreakerError, match="ends in the middle"):
        open_data(tmp_path / "half.npy", [VECTOR])
    with pytest.raises(IcebreakerError, match="float"):
        open_data(tmp_path / "half.npy", [Input("x", "int32", (None, 5))])
