"""What a SavedModel says of itself beside its graph: its signatures, and what they are called in the frozen graph.

Whoever writes a SavedModel of a frozen graph needs no more than this. The frozen graph stands alone: variables are
constants, a vocabulary's file is constants too, and whatever reads a table waits for the node that fills it, which does
nothing when the table is full. So there are no assets to keep and no initializers to run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

DEFAULT_SIGNATURE = "serving_default"


@dataclass(frozen=True)
class SignatureTensor:
    """An input or an output of a signature.

    Attributes:
        key: What the signature calls it, which can be any text.
        tensor: Canonical name in the frozen graph of this signature; the key itself where a node can bear it.
        dtype: Name of its dtype, such as `float32`.
        shape: None for dimensions that are open; None altogether when even the rank is.
    """

    key: str
    tensor: str
    dtype: str
    shape: tuple[int | None, ...] | None


@dataclass(frozen=True)
class Signature:
    """One way to call a SavedModel.

    Attributes:
        name: Such as `serving_default`; `__call__` for a traced call of a model without signatures.
        inputs: In the order of their keys.
        outputs: In the order of their keys.
        method: What TensorFlow Serving goes by, such as `tensorflow/serving/predict`.
    """

    name: str
    inputs: tuple[SignatureTensor, ...]
    outputs: tuple[SignatureTensor, ...]
    method: str = "tensorflow/serving/predict"


@dataclass(frozen=True)
class Table:
    """A lookup table in a frozen graph.

    Attributes:
        node: The node that gives its handle.
        initializer: The node that fills it, from constants; every reader waits for it.
        size: Number of its entries.
        asset: Name of the file in `assets/` that its entries came from; empty: from the graph or the checkpoint.
    """

    node: str
    initializer: str
    size: int
    asset: str = ""


@dataclass(frozen=True)
class Frozen:
    """A signature of a SavedModel as a graph, apart from the graph itself.

    Attributes:
        folder: The folder that saved_model.pb (or .pbtxt) lies in.
        tags: Of the meta graph that was taken, such as `serve`.
        signature: The signature that was taken.
        others: Names of the other signatures, sorted.
        tables: The tables of the graph.
        assets: File in `assets/` → its path, of the whole SavedModel.
    """

    folder: str
    tags: tuple[str, ...]
    signature: Signature
    others: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    assets: Mapping[str, str] = field(default_factory=dict[str, str])


def node_name(text: str) -> str:
    """A text as a name that TensorFlow lets a node have: `class id` is `class_id`, `_score` is `score`."""
    name = re.sub(r"[^A-Za-z0-9_.\\/>-]", "_", text)
    return name if re.match(r"[A-Za-z0-9.]", name) else name.lstrip("_\\/>-") or f"output{name}"
