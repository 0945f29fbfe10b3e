"""Keras models (`.keras`, `.h5`), frozen on the way in. Needs TensorFlow, so it runs in the worker.

A model with a Lambda layer or a custom object is code from a stranger. Its configuration is read as plain JSON first,
and such a model is refused before Keras sees it; then it is loaded in Keras's safe mode. What Keras 2 wrote and Keras 3
cannot read goes to Keras 2 (`tf_keras`).
"""

from __future__ import annotations

import contextlib
import json
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from icebreaker.errors import IcebreakerError
from icebreaker.formats.keras_safety import refuse_code, refuse_links, refuse_unknown
from icebreaker.formats.saved_model import reader as saved_model
from icebreaker.formats.saved_model.concrete_functions import freeze
from icebreaker.storage.files import check_unpacked
from icebreaker.storage.weight_store import Store

_MOST_CONFIG_BYTES = 64 << 20


NEEDS_TENSORFLOW = True
PATTERNS = ("*.keras", "*.h5")


def matches(path: Path) -> bool:
    """By its suffix: .keras, .h5 or .hdf5."""
    return path.suffix.lower() in (".keras", ".h5", ".hdf5")


def read(path: Path, allow_side_effects: bool = False) -> Any:
    """Freezes the model's inference function.

    Raises:
        IcebreakerError: It cannot be loaded or frozen, or it has Python code in it, which is refused.
    """
    config, of_keras_2 = _config(path)
    refuse_code(path, config)
    import tensorflow as tf

    with _named_by_content(path) as file:
        try:
            model = tf.keras.models.load_model(file, compile=False, safe_mode=True)
        except Exception as error:
            refusal = IcebreakerError(
                "keras_not_loaded",
                "{subject} could not be loaded as a Keras model: {reason}", "export_saved_model_yourself",
                subject=path, reason=str(error),
            )  # fmt: skip
            if not of_keras_2:
                raise refusal from error
            model = _load_keras_2(path, file, config)
    specs = [tf.TensorSpec(item.shape, item.dtype, name=item.name.split(":")[0]) for item in model.inputs]
    # A Sequential model does not name its output.
    names = list(getattr(model, "output_names", [])) or [f"output_{i}" for i in range(len(model.outputs))]

    @tf.function(autograph=False)
    def infer(*inputs: Any) -> dict[str, Any]:
        result = model(list(inputs) if len(inputs) > 1 else next(iter(inputs)), training=False)
        return dict(zip(names, tf.nest.flatten(result), strict=True))

    function = infer.get_concrete_function(*specs)  # pyright: ignore[reportFunctionMemberAccess]
    variables = {id(item.handle) for item in function.variables}
    if any(item.dtype == tf.resource and id(item) not in variables for item in function.captured_inputs):
        return _through_saved_model(model, function)
    return freeze(function, str(path))


def read_apart(path: Path, store: Store, big: int, allow_side_effects: bool = False) -> Any | None:
    """None: Keras has all weights in memory anyway."""
    return None


def _load_keras_2(path: Path, file: Path, config: Any) -> Any:
    """Has Keras 2 load what it wrote.

    Raises:
        IcebreakerError: It cannot, or there is something in it that is not known to be harmless.
    """
    import h5py
    import tf_keras

    refuse_unknown(path, config)
    try:
        if file.suffix == ".h5":
            with h5py.File(file, "r") as content:
                refuse_links(path, content)
        else:
            with (
                zipfile.ZipFile(file) as archive,
                archive.open("model.weights.h5") as stream,
                h5py.File(stream, "r") as content,
            ):
                refuse_links(path, content)
        return tf_keras.models.load_model(file, compile=False, safe_mode=True)
    except IcebreakerError:
        raise
    except Exception as error:
        raise IcebreakerError(
            "keras_2_not_loaded", "{subject} could not be loaded as a model of Keras 2: {reason}",
            "export_saved_model_yourself", subject=path, reason=str(error),
        ) from error  # fmt: skip


def _through_saved_model(model: Any, function: Any) -> Any:
    """Freezes a model with tables, such as vocabularies, as the SavedModel that Keras would export of it."""
    import tensorflow as tf

    module: Any = tf.Module()
    module.model = model
    with tempfile.TemporaryDirectory(prefix="icebreaker-", ignore_cleanup_errors=True) as folder:
        tf.saved_model.save(module, folder, signatures=function)
        return saved_model.read(Path(folder))


@contextlib.contextmanager
def _named_by_content(path: Path) -> Iterator[Path]:
    """The file under a name that ends as its content says: Keras goes by the name."""
    suffix = ".keras" if zipfile.is_zipfile(path) else ".h5"
    if path.suffix == suffix:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="icebreaker-", ignore_cleanup_errors=True) as folder:
        link = Path(folder) / f"model{suffix}"
        link.symlink_to(path.absolute())
        yield link


def _config(path: Path) -> tuple[Any, bool]:
    """The model's configuration as plain JSON, and whether Keras 2 or an older one wrote it."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                check_unpacked(path, sum(entry.file_size for entry in archive.infolist()), path.stat().st_size)
                if "config.json" not in archive.namelist() and "model.weights.h5" in archive.namelist():
                    raise _weights_only(path)
                for name in ("config.json", "metadata.json"):
                    if name in archive.namelist() and archive.getinfo(name).file_size > _MOST_CONFIG_BYTES:
                        raise ValueError("its configuration is too big")
                about = json.loads(archive.read("metadata.json")) if "metadata.json" in archive.namelist() else {}
                return json.loads(archive.read("config.json")), _is_old(about.get("keras_version", "3"))
        import h5py

        with h5py.File(path, "r") as file:
            if "model_config" not in file.attrs and len(file):
                raise _weights_only(path)
            config = file.attrs["model_config"]
            return json.loads(_text(config)), _is_old(_text(file.attrs.get("keras_version", "1")))
    except IcebreakerError:
        raise
    except Exception as error:  # h5py and zipfile raise what they like on a damaged file
        raise IcebreakerError(
            "keras_damaged", "{subject} is not a Keras model, or is damaged ({reason})", "save_whole_model_again",
            subject=path, reason=str(error),
        ) from error  # fmt: skip


def _weights_only(path: Path) -> IcebreakerError:
    return IcebreakerError(
        "keras_weights_only", "{subject} has the weights of a model, but not the model", "save_whole_model_again",
        subject=path,
    )  # fmt: skip


def _is_old(version: object) -> bool:
    """Whether it is the version of a Keras before 3."""
    return str(version).startswith(("0", "1", "2"))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else bytes(value).decode()
