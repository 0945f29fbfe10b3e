"""Constants made visible: an image, a histogram or plain numbers."""

from __future__ import annotations

import numpy as np
from PySide6.QtCore import QRectF
from PySide6.QtGui import QColor, QImage, QPainter

from icebreaker.graph.graph import Node
from icebreaker_gui.style import formatting, theme
from icebreaker_gui.style.wording import translate

# Constants of more elements than this are not looked at.
_MOST = 16_000_000


def values(node: Node) -> np.ndarray | None:
    """What a Const holds, None where its type is no plain number or text."""
    from tensorboard.util.tensor_util import make_ndarray

    from icebreaker.graph.protos import TensorProto

    tensor = node.definition.attr["value"].tensor
    value = node.value
    if value is None or value.size > _MOST or value.dtype in ("resource", "variant"):
        return None
    try:
        if not isinstance(tensor, TensorProto):
            tensor = TensorProto.FromString(tensor.SerializeToString())
        return make_ndarray(tensor)
    except (TypeError, ValueError, KeyError):
        return None


def preview(node: Node, width: int) -> tuple[QImage | None, list[tuple[str, str]]] | None:
    """A picture of a constant, where it is worth one, and its figures; None for what cannot be read."""
    array = values(node)
    if array is None:
        return None
    if array.dtype.kind in "OSU" or array.size <= 16:
        flat = array.reshape(-1)[:64]
        words = ", ".join(_word(item) for item in flat.tolist())
        more = f", … {array.size}" if array.size > 64 else ""
        return None, [("", words + more)]
    flat = array.reshape(-1).astype(np.float64) if array.dtype.kind != "c" else np.abs(array).reshape(-1)
    finite = flat[np.isfinite(flat)]
    rows = [(translate("graph", "values"), f"{array.size:,}")]
    if len(finite):
        rows += [
            (translate("graph", "least"), f"{finite.min():.5g}"),
            (translate("graph", "mean"), f"{finite.mean():.5g}"),
            (translate("graph", "most"), f"{finite.max():.5g}"),
            (translate("graph", "deviation"), f"{finite.std():.5g}"),
        ]
    zeros = int((flat == 0).sum())
    if zeros:
        rows.append((translate("graph", "zeros"), formatting.percent(zeros / len(flat))))
    if len(finite) < len(flat):
        rows.append((translate("graph", "not finite"), f"{len(flat) - len(finite):,}"))
    rows.append((translate("graph", "first"), ", ".join(f"{item:.4g}" for item in flat[:8].tolist()) + " …"))
    plane = _plane(array)
    return (_image(plane, width) if plane is not None else _histogram(finite, width)), rows


def _word(item: object) -> str:
    if isinstance(item, bytes):
        text = item.decode("utf-8", "replace")
        return repr(text if len(text) < 80 else text[:80] + "…")
    return f"{item:.7g}" if isinstance(item, float) else str(item)


def _plane(array: np.ndarray) -> np.ndarray | None:
    """Filters of a convolution side by side, a matrix as it is; None for what is better told by a histogram."""
    if array.dtype.kind not in "fiub":
        return None
    if array.ndim == 4 and 2 <= array.shape[0] <= 16 and 2 <= array.shape[1] <= 16:
        kh, kw, cin, cout = array.shape
        filters = array[:, :, 0, :] if cin not in (3,) else array.mean(axis=2)
        count = min(cout, 64)
        columns = int(np.ceil(count**0.5))
        rows = -(-count // columns)
        sheet = np.full((rows * (kh + 1) - 1, columns * (kw + 1) - 1), np.nan)
        for i in range(count):
            r, c = divmod(i, columns)
            sheet[r * (kh + 1) : r * (kh + 1) + kh, c * (kw + 1) : c * (kw + 1) + kw] = filters[:, :, i]
        return sheet
    if array.ndim == 2 and min(array.shape) >= 4 and max(array.shape) <= 512:
        return array.astype(np.float64)
    return None


def _image(plane: np.ndarray, width: int) -> QImage:
    finite = plane[np.isfinite(plane)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    share = (plane - low) / ((high - low) or 1.0)
    a, b = theme.current().color("panel"), theme.current().color("accent")
    ends = np.array([[a.red(), a.green(), a.blue()], [b.red(), b.green(), b.blue()]], np.float64)
    rgb = ends[0] + (ends[1] - ends[0]) * np.nan_to_num(share)[..., None]
    pixels = np.full((*plane.shape, 4), 255, np.uint8)
    pixels[..., :3] = rgb.round().astype(np.uint8)
    pixels[~np.isfinite(plane)] = 0
    factor = max(1, width // plane.shape[1])
    pixels = np.ascontiguousarray(np.repeat(np.repeat(pixels, factor, 0), factor, 1)[: 2 * width])
    image = QImage(pixels.data, pixels.shape[1], pixels.shape[0], pixels.shape[1] * 4, QImage.Format.Format_RGBA8888)
    return image.copy() if image.width() <= width else image.scaledToWidth(width)


def _histogram(numbers: np.ndarray, width: int) -> QImage | None:
    if not len(numbers):
        return None
    counts, _ = np.histogram(numbers, bins=min(62, max(8, int(len(numbers) ** 0.5))))
    tall = 72
    image = QImage(width, tall, QImage.Format.Format_ARGB32_Premultiplied)
    image.fill(QColor(0, 0, 0, 0))
    painter = QPainter(image)
    painter.fillRect(QRectF(0, tall - 1, width, 1), theme.current().color("border"))
    step = width / len(counts)
    for i, count in enumerate(counts.tolist()):
        bar = (tall - 4) * count / counts.max()
        painter.fillRect(QRectF(i * step, tall - 1 - bar, max(1.0, step - 1), bar), theme.current().color("accent"))
    painter.end()
    return image
