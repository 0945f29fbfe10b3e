"""How the child process begins."""

from __future__ import annotations

import subprocess
import sys

_SCRIPT = """
import sys
from icebreaker.jobs.worker import KerasWhenAsked
sys.meta_path.insert(0, KerasWhenAsked())
import tensorflow as tf
print("keras" in sys.modules, "sklearn" in sys.modules)
from tensorflow.keras import layers
print(layers.Dense is tf.keras.layers.Dense, "keras" in sys.modules)
"""


def test_keras_is_imported_when_it_is_asked_for():
    done = subprocess.run([sys.executable, "-P", "-c", _SCRIPT], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["False", "False", "True", "True"], done.stderr
