"""Asks TensorFlow what SavedModels answer, in a process of its own that cannot import Icebreaker.

    python -I -S plain_tensorflow.py FOLDER_WITH_TENSORFLOW INPUTS.npz OUTPUTS.npz SAVED_MODEL...

INPUTS.npz has `SIGNATURE|KEY`; OUTPUTS.npz gets `NUMBER|LOADER|SIGNATURE|KEY` for each of TensorFlow's loaders, and for
`saved_model_cli run`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Answers = dict[str, dict[str, dict[str, Any]]]


def answers(models: Sequence[Path], inputs: Mapping[str, Mapping[str, Any]]) -> tuple[list[Answers], str]:
    """What each loader (`v2`, `v1`, `cli`) gives for the inputs, by signature; and what `saved_model_cli show` tells.

    Args:
        models: SavedModels' folders.
        inputs: Signature → key → array.
    """
    import numpy as np

    found: list[Answers] = [{} for _ in models]
    home = importlib.util.find_spec("tensorflow")
    assert home and home.origin
    with tempfile.TemporaryDirectory() as folder:
        given, made = Path(folder) / "in.npz", Path(folder) / "out.npz"
        flat = {f"{name}|{key}": np.asarray(value) for name, part in inputs.items() for key, value in part.items()}
        np.savez(given, **{key: value.astype("U") if value.dtype == object else value for key, value in flat.items()})
        words = [sys.executable, "-I", "-S", __file__, str(Path(home.origin).parents[1]), given, made, *models]
        environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
        done = subprocess.run(list(map(str, words)), capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr[-3000:]
        with np.load(made, allow_pickle=False) as archive:
            for text in archive.files:
                number, loader, name, key = text.split("|")
                found[int(number)].setdefault(loader, {}).setdefault(name, {})[key] = archive[text]
    return found, done.stdout


def main() -> None:
    """Does it."""
    sys.path.insert(0, sys.argv[1])
    sys.modules["icebreaker"] = None  # pyright: ignore[reportArgumentType]
    import numpy as np

    given, made, *models = sys.argv[2:]
    inputs: dict[str, dict[str, Any]] = {}
    with np.load(given) as archive:
        for text in archive.files:
            name, key = text.split("|")
            value = archive[text]
            inputs.setdefault(name, {})[key] = value.astype(object) if value.dtype.kind == "U" else value
    found: dict[str, Any] = {}
    for number, model in enumerate(models):
        ask(model, inputs, found, f"{number}|")
    np.savez(made, **found)


def ask(model: str, inputs: Mapping[str, Mapping[str, Any]], found: dict[str, Any], prefix: str) -> None:
    """Asks one model in all ways."""
    import numpy as np
    import tensorflow as tf
    from absl import flags
    from tensorflow.python.tools import saved_model_cli

    def tell(loader: str, name: str, outputs: Mapping[str, Any]) -> None:
        for key, value in outputs.items():
            value = np.asarray(value)
            found[f"{prefix}{loader}|{name}|{key}"] = value.astype("S") if value.dtype == object else value

    loaded = tf.saved_model.load(model)
    for name, part in inputs.items():
        outputs = loaded.signatures[name](**{key: tf.constant(value) for key, value in part.items()})
        tell("v2", name, {key: value.numpy() for key, value in outputs.items()})
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        meta = tf.compat.v1.saved_model.load(session, ["serve"], model)
        for name, part in inputs.items():
            signature = meta.signature_def[name]
            wanted = {key: info.name for key, info in signature.outputs.items()}
            tell("v1", name, session.run(wanted, {signature.inputs[key].name: part[key] for key in part}))
    for name, part in inputs.items():
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "given.npz"
            np.savez(file, **{key: value for key, value in part.items() if value.dtype != object})
            numbers = [f"{key}={file}[{key}]" for key, value in part.items() if value.dtype != object]
            texts = [f"{key}={value.tolist()!r}" for key, value in part.items() if value.dtype == object]
            words = [f"--dir={model}", "--tag_set=serve", f"--signature_def={name}", f"--outdir={folder}"]
            words += [f"--inputs={';'.join(numbers)}", f"--input_exprs={';'.join(texts)}"]
            flags.FLAGS(["saved_model_cli", *words])
            with contextlib.redirect_stdout(io.StringIO()):
                saved_model_cli.run()
            tell("cli", name, {file.stem: np.load(file, allow_pickle=True) for file in Path(folder).glob("*.npy")})
    flags.FLAGS(["saved_model_cli", f"--dir={model}", "--all"])
    saved_model_cli.show()


if __name__ == "__main__":
    main()
