"""Settings: what they may be, and how profiles and sizes are read from what people write."""

import pytest

from icebreaker import codec
from icebreaker.errors import IcebreakerError
from icebreaker.reports import EngineStatus
from icebreaker.settings import PRECISIONS, ConvertSettings, output_format, parse_profile, parse_size, profile_text


def test_settings_survive_the_way_to_the_worker():
    settings = ConvertSettings.of(
        outputs=("y",), inputs=("x",), input_shapes={"x": (1, 3)}, engine="openvino", precision="fp16",
        max_batch_size=8, workspace_bytes=1, memory_fraction=0.5, minimum_segment_size=1, exclude=("n",), data="d.npz",
        profiles={"z": ((1, 2), (3, 4), (5, 6))}, optimization_level=0, hardware_compatibility="ampere-plus",
        version_compatible=True, weights="weightless", compute_capabilities=("8.9", "12.0"),
    )  # fmt: skip
    assert codec.decode(codec.encode(settings), ConvertSettings) == settings
    assert codec.from_plain({}, ConvertSettings) == ConvertSettings()


def test_settings_of_another_version_are_refused():
    for data in ({"turbo": True}, {"builder": {"turbo": True}}, {"quantization": {"turbo": True}}):
        with pytest.raises(ValueError, match="'turbo' is unknown"):
            codec.from_plain(data, ConvertSettings)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"precision": "fp8"}, "precision 'fp8' is unknown: choose " + ", ".join(PRECISIONS)),
        ({"max_batch_size": 0}, "max batch size 0"),
        ({"workspace_bytes": -1}, "workspace -1"),
        ({"memory_fraction": 0.0}, "memory fraction 0.0"),
        ({"memory_fraction": 1.5}, "memory fraction 1.5"),
        ({"minimum_segment_size": 0}, "minimum segment size 0"),
        ({"optimization_level": 6}, "optimization level 6 is unknown: choose 0 to 5"),
        ({"hardware_compatibility": "all"}, "hardware compatibility 'all' is unknown: choose none, "),
        ({"weights": "gone"}, "weights 'gone' is unknown: choose fixed, refittable, weightless"),
        ({"compute_capabilities": ("sm_89",)}, "'sm_89' is not a compute capability: write it like 8.9"),
        ({"profiles": {"x": ((1,), (2,))}}, "the profile of x is not three shapes"),
        ({"profiles": {"x": ((1,), (2,), (3, 4))}}, "the profile of x is not three shapes of one length"),
        ({"profiles": {"x": ((1,), (3,), (2,))}}, "the profile of x does not grow"),
        ({"profiles": {"x": ((0,), (1,), (2,))}}, "the profile of x has a size below 1"),
        ({"profiles": {"x": ((1,), (1,), (2,))}, "input_shapes": {"x": (1,)}}, "input x has both"),
    ],
)
def test_values_out_of_range_are_refused(values, words):
    with pytest.raises(IcebreakerError) as raised:
        ConvertSettings.of(**values)
    assert str(raised.value).startswith(words)


def test_profiles_are_read_and_written():
    name, profile = parse_profile("^image:0=1x64x3, 4×224x3,8x512x3")
    assert (name, profile) == ("image", ((1, 64, 3), (4, 224, 3), (8, 512, 3)))
    assert parse_profile(f"image={profile_text(profile)}") == (name, profile)
    assert parse_profile("ids=1x8") == ("ids", ((1, 8),) * 3)
    for text in ("1x2", "x=", "x=1x2,3", "x=1xA", "x=1,2,3,4", "=1,2,3"):
        with pytest.raises(IcebreakerError):
            parse_profile(text)


def test_what_no_engine_has_is_told_with_its_reason():
    rich = EngineStatus("rich", True, True, "", options={"optimization_level": "", "weights": "it melts"})
    poor = EngineStatus("poor", True, True, "")
    asked = ConvertSettings.of(optimization_level=5)
    assert asked.unmet([rich]) == asked.unmet([poor, rich]) == ConvertSettings().unmet([poor]) is None
    assert str(asked.unmet([poor])) == (
        "a builder optimization level is not to be had with poor: it is for TensorRT; leave it out"
    )
    assert "with poor or rich: it melts" in str(ConvertSettings.of(weights="weightless").unmet([poor, rich]))
    some = EngineStatus("some", True, True, "", options={"compute_capabilities": ""}, targets=("8.0", "8.9"))
    assert ConvertSettings.of(compute_capabilities=("8.9",)).unmet([some]) is None
    assert "does not build for compute capability 9.0: choose 8.0, 8.9" in (
        str(ConvertSettings.of(compute_capabilities=("8.0", "9.0")).unmet([some]))
    )


@pytest.mark.parametrize(
    ("text", "size"),
    [("4GB", 4 * 10**9), ("4 GiB", 4 << 30), ("1.5mb", 1_500_000), ("512", 512), (" 2kib ", 2048), ("0", 0), ("7B", 7)],
)
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "4TB", "-1", "1e9", "4 G B", "٤GB", "4GB!", "inf"])
def test_what_is_no_size(text):
    with pytest.raises(IcebreakerError, match="is not a size"):
        parse_size(text)


def test_the_name_of_the_output_says_what_is_written(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder.v2").mkdir()
    (tmp_path / "link").symlink_to("far.pb")
    for name, form in {
        "made.pb": "graph", "made": "saved_model", "made.v2/": "saved_model", "made.v2": "graph", "file": "graph",
        "folder.v2": "saved_model", "link": "graph",
    }.items():  # fmt: skip
        assert output_format(f"{tmp_path}/{name}") == form, name
    assert output_format("/dev/null") == "graph" and output_format("made/", "graph") == "graph"
    with pytest.raises(IcebreakerError, match="format 'onnx' is unknown"):
        output_format("made", "onnx")
