"""How an image becomes the values that a network takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from icebreaker.errors import IcebreakerError

if TYPE_CHECKING:  # settings are read where nothing is computed, and quickly
    import numpy as np


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes the network's input: `(pixel - mean) / std`, pixels from 0 to 255.

    Attributes:
        height: Rows.
        width: Columns.
        channels: `RGB`, `BGR` or `L` (grey).
        layout: `NHWC` or `NCHW`; without its N for an input that has no batch axis.
        mean: One value, or one per channel, in the order of `channels`.
        std: Likewise.
        crop: `center` keeps the proportions and cuts off what is too much, `stretch` does not.
    """

    height: int
    width: int
    channels: str = "RGB"
    layout: str = "NHWC"
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (255.0,)
    crop: str = "center"

    def __post_init__(self) -> None:
        """Checks every value.

        Raises:
            IcebreakerError: A value is out of its range.
        """
        planes = 1 if self.channels == "L" else 3
        if self.height < 1 or self.width < 1:
            raise IcebreakerError(
                "image_size_too_small", "image size {width}×{height} is too small", "both_at_least_1",
                width=self.width, height=self.height,
            )  # fmt: skip
        if self.channels not in ("RGB", "BGR", "L") or self.layout not in ("NHWC", "NCHW", "HWC", "CHW"):
            raise IcebreakerError(
                "image_layout_unknown", "{channels} in {layout} is unknown", "choose_layout",
                channels=self.channels, layout=self.layout,
            )  # fmt: skip
        if self.crop not in ("center", "stretch"):
            raise IcebreakerError("crop_unknown", "crop {subject!r} is unknown", "choose_crop", subject=self.crop)
        if not {len(self.mean), len(self.std)} <= {1, planes} or not all(self.std):
            raise IcebreakerError(
                "normalization_unfit", "mean and std must have 1 or {planes} values, and std must not be 0",
                planes=planes,
            )  # fmt: skip

    @classmethod
    def guess(cls, shape: Sequence[int | None] | None, dtype: str) -> Preprocessing | None:
        """The likeliest preprocessing for an input, from its shape and type; None if it does not look like an image.

        Float inputs are taken to want values from 0 to 1, whole-number ones from 0 to 255. Open sizes become 224.
        """
        if (
            shape is None
            or len(shape) not in (3, 4)
            or dtype not in ("float32", "float64", "float16", "uint8", "int32", "int64")
        ):
            return None
        first, second, last = shape[-3], shape[-2], shape[-1]
        if last in (1, 3):
            layout, planes, height, width = "NHWC", last, first, second
        elif first in (1, 3):
            layout, planes, height, width = "NCHW", first, second, last
        else:
            return None
        return cls(
            height or 224,
            width or 224,
            "L" if planes == 1 else "RGB",
            layout if len(shape) == 4 else layout[1:],
            std=(255.0,) if dtype.startswith("float") else (1.0,),
        )

    def __str__(self) -> str:
        """In words, for the user."""
        lowest = [0.0 - m / s for m, s in self._pairs()]
        highest = [(255 - m) / s for m, s in self._pairs()]
        kept = "cropped at the center" if self.crop == "center" else "stretched"
        return (
            f"{self.width}×{self.height}, {kept}, {'grey' if self.channels == 'L' else self.channels}, {self.layout}, "
            f"values from {min(lowest):.4g} to {max(highest):.4g}"
        )

    def _pairs(self) -> list[tuple[float, float]]:
        count = max(len(self.mean), len(self.std))
        return list(zip(self.mean * (count // len(self.mean)), self.std * (count // len(self.std)), strict=True))

    def apply(self, image: Any) -> np.ndarray:
        """A Pillow image as float32, [H, W, C] or [C, H, W]."""
        import numpy as np
        from PIL import Image

        if image.mode in ("RGBA", "LA", "P"):  # what is transparent becomes white
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        image = image.convert("L" if self.channels == "L" else "RGB")
        wide, high = image.size
        box = None
        if self.crop == "center":
            scale = min(wide / self.width, high / self.height)
            # Rounding may make either a little less than nothing, which Pillow refuses.
            left, top = max(0.0, (wide - self.width * scale) / 2), max(0.0, (high - self.height * scale) / 2)
            box = (left, top, wide - left, high - top)
        image = image.resize((self.width, self.height), Image.Resampling.BILINEAR, box)
        pixels = np.asarray(image, np.float32).reshape(self.height, self.width, -1)
        if self.channels == "BGR":
            pixels = pixels[..., ::-1]
        pixels = (pixels - np.asarray(self.mean, np.float32)) / np.asarray(self.std, np.float32)
        return np.ascontiguousarray(pixels.transpose(2, 0, 1) if self.layout.endswith("CHW") else pixels)

    def values(self, image: Any, dtype: str) -> np.ndarray:
        """A Pillow image in the type of an input: `apply`, rounded for whole numbers."""
        import numpy as np

        pixels = self.apply(image)
        return (pixels if dtype.startswith("float") else np.rint(pixels)).astype(dtype)

    def visible(self, value: np.ndarray) -> np.ndarray:
        """What `apply` gave, as a picture: uint8 [H, W, 3] in RGB."""
        import numpy as np

        pixels = value.transpose(1, 2, 0) if self.layout.endswith("CHW") else value
        pixels = np.rint(pixels * np.asarray(self.std, np.float32) + np.asarray(self.mean, np.float32))
        pixels = np.clip(pixels, 0, 255).astype(np.uint8)[..., :: -1 if self.channels == "BGR" else 1]
        return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels
