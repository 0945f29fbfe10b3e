"""Makes the documentation's pictures of the graph view: `python docs/graph_pictures.py [NAME ...]`.

Needs no display. The graphs are made here (random weights), but for the detector, which is taken from ../shared where
that is there. They are really converted and measured, so the figures in the pictures are those of the machine it runs
on.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

IMAGES = Path(__file__).parent / "images"
SHARED = Path(__file__).parents[2] / "shared" / "graphs"


# ---- graphs (in a child process that has TensorFlow) ----------------------------------------------------------------


def frozen(function: Any) -> Any:
    """The frozen GraphDef of a tf.function's concrete function."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    return convert_variables_to_constants_v2(function, lower_control_flow=False).graph.as_graph_def()


def resnet50() -> Any:
    """The classic example of this field."""
    import tensorflow as tf

    model = tf.keras.applications.ResNet50(weights=None)
    call = tf.function(lambda image: model(image, training=False))
    return frozen(call.get_concrete_function(tf.TensorSpec([1, 224, 224, 3], tf.float32, name="image")))


def detector() -> Any:
    """A real one from ../shared: SSD with v1 while loops and non-maximum suppression."""
    from icebreaker.formats import graph_files

    return graph_files.read_definition(SHARED / "human_handtrack.pb")


def control_flow() -> Any:
    """A decoder that writes word by word: a v1 while loop around a recurrent cell, a branch, a look-up."""
    import tensorflow as tf

    v1 = tf.compat.v1
    with v1.Graph().as_default() as graph:
        v1.disable_control_flow_v2()
        features = v1.placeholder(tf.float32, [1, 64], "features")
        greedy = v1.placeholder_with_default(True, [], "greedy")

        def weights(name: str, *shape: int) -> Any:
            import numpy as np

            return tf.constant(np.random.default_rng(0).normal(0, 0.1, shape).astype("float32"), name=name)

        with tf.name_scope("encoder"):
            state = features
            for layer in range(3):
                with tf.name_scope(f"dense{layer}"):
                    state = tf.nn.relu(
                        tf.nn.bias_add(tf.matmul(state, weights("weights", 64, 64)), weights("bias", 64))
                    )

        def step(time: Any, state: Any, word: Any) -> Any:
            with tf.name_scope("cell"):
                inputs = tf.concat([state, tf.one_hot(word, 64)], 1, "join")
                for gate in ("reset", "update"):
                    with tf.name_scope(gate):
                        inputs = inputs * tf.sigmoid(
                            tf.matmul(inputs, weights("weights", 128, 128)) + weights("bias", 128)
                        )
                with tf.name_scope("output"):
                    state = tf.tanh(tf.matmul(inputs, weights("weights", 128, 64)) + weights("bias", 64))
            with tf.name_scope("choose"):
                scores = tf.nn.softmax(tf.matmul(state, weights("words", 64, 64)))
                word = v1.cond(
                    greedy,
                    lambda: tf.argmax(scores, 1, tf.int32),
                    lambda: tf.reshape(tf.random.categorical(tf.math.log(scores), 1, dtype=tf.int32), [1]),
                )
            return time + 1, state, word

        with tf.name_scope("decoder"):
            _, state, word = v1.while_loop(
                lambda time, state, word: time < 20,
                step,
                [tf.constant(0), state, tf.constant([0])],
                name="loop",
            )
        with tf.name_scope("head"):
            out = state
            for layer in range(2):
                with tf.name_scope(f"dense{layer}"):
                    out = tf.nn.relu(tf.nn.bias_add(tf.matmul(out, weights("weights", 64, 64)), weights("bias", 64)))
            out = tf.nn.softmax(out)
        tf.identity(out, "mood")
        tf.strings.join(["word ", tf.strings.as_string(word)], name="text")
        return graph.as_graph_def()


def towers() -> Any:
    """Ten thousand nodes: an ensemble of towers of blocks with four branches each."""
    from icebreaker.graph.protos import GraphDef

    definition = GraphDef()
    node = definition.node.add
    node(name="image", op="Placeholder")
    ends = []
    for tower in range(32):
        before = "image"
        for block in range(11):
            name = f"ensemble/tower{tower}/block{block}"
            branches = []
            for branch, ops in enumerate((
                ["Conv2D", "BiasAdd", "Relu"], ["Conv2D", "BiasAdd", "Relu", "Conv2D", "BiasAdd", "Relu"],
                ["DepthwiseConv2dNative", "FusedBatchNormV3", "Relu6", *["Conv2D", "BiasAdd", "Relu"] * (block % 2)],
                ["MaxPool", "Conv2D", "BiasAdd"],
            )):  # fmt: skip
                last = before
                for place, op in enumerate(ops):
                    path = f"{name}/branch{branch}/{op}_{place}"
                    weights = []
                    if op in ("Conv2D", "BiasAdd", "DepthwiseConv2dNative", "FusedBatchNormV3"):
                        weights = [f"{path}/weights"]
                        node(name=weights[0], op="Const")
                    node(name=path, op=op, input=[last, *weights])
                    last = path
                branches.append(last)
            node(name=f"{name}/axis", op="Const")
            node(name=f"{name}/concat", op="ConcatV2", input=[*branches, f"{name}/axis"])
            before = f"{name}/concat"
        for op in ("Mean", "MatMul", "Softmax"):
            path = f"ensemble/tower{tower}/{op}"
            node(name=path, op=op, input=[before])
            before = path
        ends.append(before)
    for part in range(0, 32, 8):
        node(name=f"vote/part{part}", op="AddN", input=ends[part : part + 8])
    node(name="vote/all", op="AddN", input=[f"vote/part{part}" for part in range(0, 32, 8)])
    node(name="label", op="ArgMax", input=["vote/all"])
    return definition


def make(name: str, folder: Path) -> None:
    """Writes the graph and, where it can be converted, its conversion."""
    definition = MAKERS[name]()
    path = folder / f"{name}.pb"
    path.write_bytes(definition.SerializeToString())
    if name == "towers":
        return
    from icebreaker import reports
    from icebreaker.benchmarking import benchmark
    from icebreaker.conversion.pipeline import convert
    from icebreaker.settings import ConvertSettings

    settings = ConvertSettings(input_shapes={"input_tensor": (1, 320, 320, 3)} if name == "detector" else {})
    output = folder / f"{name}-after.pb"
    result = convert(path, output, settings)
    if not result.segments:  # what is best on a busy machine is not what the picture is about
        settings = dataclasses.replace(settings, engine="openvino")
        result = convert(path, output, settings)
    (folder / f"{name}.json").write_text(json.dumps(reports.dump(result)))
    measured = benchmark.benchmark(str(path), str(output), settings=settings.to_json(), profile=True)
    (folder / f"{name}.bench.json").write_text(json.dumps(reports.dump(measured)))


MAKERS: dict[str, Callable[[], Any]] = {
    "resnet50": resnet50, "detector": detector, "control_flow": control_flow, "towers": towers,
}  # fmt: skip


# ---- pictures -------------------------------------------------------------------------------------------------------


def picture(
    picture: str, name: str, folder: Path, view: Callable[[Any], None], theme_name: str, size: tuple[int, int]
) -> Path:
    """Shows the graph `name`, lets `view` arrange it, saves what is seen."""
    from PySide6.QtCore import QSettings
    from PySide6.QtGui import QCursor
    from PySide6.QtTest import QTest
    from PySide6.QtWidgets import QApplication

    from icebreaker import reports
    from icebreaker.formats import graph_files
    from icebreaker_gui.graph_view import GraphPanel
    from icebreaker_gui.style import theme

    app = QApplication.instance() or QApplication([])
    QSettings.setDefaultFormat(QSettings.Format.IniFormat)  # none of the user's
    QSettings.setPath(QSettings.Format.IniFormat, QSettings.Scope.UserScope, str(folder / "settings"))
    QCursor.setPos(5000, 5000)
    theme.install(app, theme_name)  # type: ignore[arg-type]
    panel = GraphPanel()
    panel.view_menu.sideways.setChecked(False)
    panel.resize(*size)
    panel.show()
    panel.show_graph(graph_files.read_graph(folder / f"{name}.pb"))
    wait(panel)
    report = folder / f"{name}.json"
    if report.exists():
        conversion = reports.load(reports.Conversion, json.loads(report.read_text()))
        panel.show_conversion(conversion, graph_files.read_graph(folder / f"{name}-after.pb"))
        measured = json.loads((folder / f"{name}.bench.json").read_text())
        panel.show_benchmark(reports.load(reports.Benchmark, measured))
        wait(panel)
    view(panel)
    wait(panel)
    QTest.qWait(700)
    IMAGES.mkdir(exist_ok=True)
    path = IMAGES / f"graph-{picture.replace('_', '-')}.png"
    panel.grab().save(str(path))
    panel.close()
    return path


def wait(panel: Any) -> None:
    """Waits for layouts in the background."""
    from PySide6.QtTest import QTest

    QTest.qWait(100)
    for _ in range(600):
        if not panel.state.busy:
            break
        QTest.qWait(50)


def view_resnet50(panel: Any) -> None:
    """Side by side, everything in sight."""
    panel.fit()


def view_time(panel: Any) -> None:
    """Side by side, as heat."""
    panel.state.set_overlay("time")
    panel.fit()


def view_detector(panel: Any) -> None:
    """One above the other, from left to right."""
    panel.view_menu.sideways.setChecked(True)
    wait(panel)
    panel.fit()


def view_control_flow(panel: Any) -> None:
    """Side by side."""
    panel.fit()


def view_towers(panel: Any) -> None:
    """Every op of ten thousand."""
    panel.view_menu.sidebar.setChecked(False)
    panel.state.open_all()
    wait(panel)
    pane = panel.before_pane
    block = panel.state.item(pane.picture.scene.outline, "ensemble/tower9/block4/")
    pane.fit(item=block, animated=False)
    pane.zoom(0.36)


# Picture → graph, how it is looked at, theme, size.
VIEWS: dict[str, tuple[str, Callable[[Any], None], str, tuple[int, int]]] = {
    "resnet50": ("resnet50", view_resnet50, "light", (1280, 800)),
    "time": ("resnet50", view_time, "light", (1280, 800)),
    "detector": ("detector", view_detector, "light", (1600, 900)),
    "control_flow": ("control_flow", view_control_flow, "dark", (1280, 800)),
    "towers": ("towers", view_towers, "dark", (1280, 800)),
}


def main() -> int:
    """Makes all pictures, or those named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*VIEWS, []], metavar="NAME", help=", ".join(VIEWS))
    parser.add_argument("--folder", type=Path, help="keep graphs and conversions here, and use what is there")
    parser.add_argument("--make", metavar="NAME", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.make:
        make(options.make, options.folder)
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        for name in options.names or VIEWS:
            graph = VIEWS[name][0]
            if graph == "detector" and not SHARED.is_dir():
                print(f"left out: {name}, whose graph is in {SHARED}, which is not here", file=sys.stderr)
                continue
            if not (folder / f"{graph}.pb").exists():
                command = [sys.executable, __file__, "--make", graph, "--folder", str(folder)]
                subprocess.run(command, check=True)  # noqa: S603 - our own file
            print(picture(name, graph, folder, *VIEWS[name][1:]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
