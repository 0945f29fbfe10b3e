"""Compiles the native op against the TensorFlow and the OpenVINO that are installed; `make setup` calls it.

Without a compiler nothing is built and engines are called through Python, which is no error.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from icebreaker.tf import native_library

HERE = Path(__file__).parent
SOURCES = ("engine_op.cc", "openvino.cc")


def main() -> int:
    """Builds it; 1 if the compiler fails."""
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    openvino = find_spec("openvino")
    if sys.platform != "linux" or compiler is None or openvino is None or openvino.origin is None:
        print("There is no g++ (Debian: apt-get install g++), so engines are called through Python. All works.")
        return 0
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    target = native_library.place()
    print(f"Compiling {target.name}, which hands tensors over to OpenVINO without Python: half a minute.")
    made = target.with_suffix(".tmp")
    command = [
        compiler, "-O2", "-shared", "-fPIC", "-fvisibility=hidden", "-w",
        f'-DICEBREAKER_TENSORFLOW="{tf.__version__}"', *tf.sysconfig.get_compile_flags(),
        "-I", str(Path(openvino.origin).parent / "include"), *(str(HERE / name) for name in SOURCES),
        "-o", str(made), *tf.sysconfig.get_link_flags(), "-ldl",
    ]  # fmt: skip
    if subprocess.run(command, check=False).returncode:  # noqa: S603 - the compiler, with what TensorFlow says
        print("It cannot be compiled here, so engines are called through Python. All works.", file=sys.stderr)
        made.unlink(missing_ok=True)
        return 0
    made.replace(target)
    return 0


if __name__ == "__main__":
    sys.exit(main())
