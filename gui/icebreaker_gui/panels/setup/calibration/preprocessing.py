"""How images become the values that a network takes, where the data is images."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QWidget

from icebreaker.preprocessing import Preprocessing
from icebreaker_gui.panels.setup.calibration.fields import combo, wide_grid

# Ways to map pixels, which no graph tells: mean and std of (pixel - mean) / std.
_VALUES: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "unit": ((0.0,), (255.0,)),
    "symmetric": ((127.5,), (127.5,)),
    "byte": ((0.0,), (1.0,)),
    "imagenet": ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    "caffe": ((103.939, 116.779, 123.68), (1.0,)),
}
_ORDERS: Mapping[str, str] = {"imagenet": "RGB", "caffe": "BGR"}  # which those values belong to


class PreprocessingForm(QWidget):
    """Three choices, shown as they were guessed or chosen; hidden where the data is no images."""

    chosen = Signal(object)  # a `Preprocessing`

    def __init__(self, widest: str) -> None:
        """Makes the fields; `widest` as in `wide_grid`."""
        super().__init__()
        self._shown: Preprocessing | None = None
        names = {
            "unit": self.tr("0 to 1"), "symmetric": self.tr("−1 to 1"), "byte": self.tr("0 to 255"),
            "imagenet": self.tr("ImageNet mean and std"), "caffe": self.tr("Caffe means, BGR"),
        }  # fmt: skip
        self._values = combo((key, names[key]) for key in _VALUES)
        self._channels = combo((("RGB", "RGB"), ("BGR", "BGR")))
        self._crop = combo((("center", self.tr("cropped at the center")), ("stretch", self.tr("stretched"))))
        self._values.activated.connect(self._on_values)
        self._channels.activated.connect(lambda: self._choose(channels=self._channels.currentData()))
        self._crop.activated.connect(lambda: self._choose(crop=self._crop.currentData()))
        rows = (
            (self.tr("Values"), self._values), (self.tr("Channels"), self._channels), (self.tr("Fit"), self._crop),
        )  # fmt: skip
        self.setLayout(wide_grid(rows, widest))

    def show_preprocessing(self, preprocessing: Preprocessing | None) -> None:
        """Shows how images become values; None: the data is no images."""
        self._shown = preprocessing
        self.setVisible(preprocessing is not None)
        if preprocessing:
            shown = (preprocessing.mean, preprocessing.std)
            self._values.setCurrentIndex(
                self._values.findData(next((key for key, values in _VALUES.items() if values == shown), None))
            )
            self._channels.setCurrentIndex(self._channels.findData(preprocessing.channels))
            self._channels.setEnabled(preprocessing.channels != "L")
            self._crop.setCurrentIndex(self._crop.findData(preprocessing.crop))

    def _on_values(self) -> None:
        key = self._values.currentData()
        mean, std = _VALUES[key]
        is_grey = self._shown is not None and self._shown.channels == "L"
        if is_grey and max(len(mean), len(std)) > 1:
            return  # means of three channels say nothing of grey
        order = {"channels": _ORDERS[key]} if key in _ORDERS and not is_grey else {}
        self._choose(mean=mean, std=std, **order)

    def _choose(self, **values: object) -> None:
        if self._shown:
            self.chosen.emit(dataclasses.replace(self._shown, **values))  # type: ignore[arg-type] - fields of it
