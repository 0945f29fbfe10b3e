"""Graphs to try Icebreaker on.

`digits` ships with its test data (`resources/samples`, where the script that trained it lies too); `resnet50` is
made on demand, since 100 MB of random weights are not worth shipping.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from icebreaker.errors import IcebreakerError
from icebreaker.storage.files import write_whole

SAMPLES: Mapping[str, str] = {
    "digits": "reads handwritten digits: decodes PNG strings in TensorFlow, a residual network, labels in TensorFlow",
    "resnet50": "ResNet-50 with random weights, 102 MB, made on demand: the classic example of this field",
}
_SEED = 50


def sample_path(name: str) -> Path | None:
    """The frozen graph of a sample that ships with the program; None for one that is made on demand."""
    return _shipped(f"{name}.pb")


def sample_data(name: str) -> Path | None:
    """An `.npz` with real inputs of a sample by input name, and the true values by output name; None without one.

    For `digits` these are `image_bytes`, 360 PNG strings that it was not trained on, and `label`.
    """
    return _shipped(f"{name}_test.npz")


def write_sample(name: str, path: Path, job_id: str = "") -> None:
    """Writes a sample's frozen graph. `resnet50` needs TensorFlow and takes some ten seconds.

    `job_id` is as for `files.write_whole`.

    Raises:
        IcebreakerError: There is no such sample, or `path` cannot be written.
    """
    if name not in SAMPLES:
        raise IcebreakerError(
            "sample_unknown", "sample {subject!r} is unknown", "choose_sample",
            subject=name, samples=" or ".join(SAMPLES),
        )  # fmt: skip
    if name == "resnet50":
        content = _resnet50().SerializeToString()
    elif shipped := sample_path(name):
        content = shipped.read_bytes()
    else:
        raise IcebreakerError(
            "sample_missing", "sample {subject!r} is missing from this installation", "install_icebreaker_again",
            subject=name,
        )  # fmt: skip
    write_whole(path, content, job_id)


def _shipped(file: str) -> Path | None:
    # A name, not an import: the folder is installed beside the library but belongs to neither layer's code.
    path = Path(str(resources.files("icebreaker.sample_data"))) / file
    return path if path.is_file() else None


def _resnet50() -> Any:
    """ResNet-50 with seeded weights: input `input` (batch, 224, 224, 3), output `probabilities` (batch, 1000).

    Fresh batch norms have mean 0 and variance 1, with which the activations grow from block to block until the
    output is the same for every image. One pass over made-up images, smooth and grainy ones, sets the statistics that
    training would have; values of the size that scaled images have (0 to 1, or mean 0 and variance 1) fit them. Each
    block adds half of what a fresh one would, as trained ones add little: else the network is chaotic, and doubles
    every rounding error from block to block (16 % at the output in bfloat16, instead of 3 %).
    """
    import keras
    import numpy as np
    import tensorflow as tf

    from icebreaker.formats.saved_model.concrete_functions import freeze

    keras.utils.set_random_seed(_SEED)
    applications: Any = keras.applications  # whose annotations do not know that weights may be None
    model = applications.ResNet50(weights=None)
    for norm in (layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)):
        norm.momentum = 0.0  # take over the statistics of the one batch
        if norm.name.endswith("_3_bn"):  # the last of its block
            scale: Any = norm.gamma
            scale.assign(0.5 * np.ones(scale.shape, np.float32))
    noise = np.random.default_rng(_SEED)
    smooth = tf.image.resize(noise.normal(size=(4, 28, 28, 3)), (224, 224))
    model(tf.concat([smooth, noise.normal(size=(4, 224, 224, 3)).astype(np.float32)], 0), training=True)

    spec = tf.TensorSpec((None, 224, 224, 3), tf.float32, name="input")
    infer = tf.function(lambda images: {"probabilities": model(images, training=False)}, [spec], autograph=False)
    return freeze(infer.get_concrete_function(), "resnet50")
