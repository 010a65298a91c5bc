"""The pixels of a loaded image: as 8-bit RGB with alpha, and turned upright, whatever its mode and its EXIF orientation."""

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageFile

from ray_ue.images.broken import BROKEN, Rejected
from ray_ue.images.metadata import ORIENTATION
from ray_ue.stripes import stripes
from ray_ue.types import Pixels

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
LYING = (5, 6, 7, 8)  # orientations that exchange height and width
WITH_ALPHA = ("LA", "PA", "RGBA", "La", "RGBa")
Alpha = UInt8[np.ndarray, "H W"] | None  # None: opaque


def upright_image(image: ImageFile.ImageFile) -> Image.Image:
    """The loaded image as RGB, turned as its EXIF says."""
    orientation, rgb = _orientation(image), _to_rgb(image)[0]
    return rgb.transpose(TURNS[orientation]) if orientation in TURNS else rgb


def upright_pixels(image: ImageFile.ImageFile) -> tuple[Pixels, Alpha]:
    """The same as an array, and its alpha; converted some rows at a time, as Pillow would hold the picture several times."""
    (width, height), orientation = image.size, _orientation(image)
    shape = (width, height) if orientation in LYING else (height, width)
    rgb, alpha = np.empty((*shape, 3), np.uint8), np.full(shape, 255, np.uint8) if _has_alpha(image) else None
    lying, lying_alpha = _as_stored(rgb, orientation), None if alpha is None else _as_stored(alpha, orientation)
    for rows in stripes(height, width):
        part, mask = _to_rgb(image.crop((0, rows.start, width, rows.stop)))
        lying[rows] = np.asarray(part)
        if lying_alpha is not None and mask is not None:
            lying_alpha[rows] = np.asarray(mask)
    return rgb, None if alpha is None or alpha.min() == 255 else alpha


def _as_stored(upright: np.ndarray, orientation: int) -> np.ndarray:
    """A view of an upright array in which rows and columns are those of the file."""
    down = upright[::-1] if orientation in (3, 4, 7, 8) else upright
    both = down[:, ::-1] if orientation in (2, 3, 6, 7) else down
    return both.swapaxes(0, 1) if orientation in LYING else both


def _has_alpha(image: Image.Image) -> bool:
    return image.mode in WITH_ALPHA or "transparency" in image.info


def _to_rgb(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """The loaded image as RGB, and its alpha when some pixel is not opaque."""
    if image.mode.startswith("I;16"):
        return _from_16_bit(image)
    if image.mode in ("I", "F"):
        raise Rejected(f"32-bit {'integer' if image.mode == 'I' else 'floating-point'} pixels")
    if _has_alpha(image):
        full = image.convert("RGBA")
        alpha = full.getchannel("A")
        return full.convert("RGB"), None if alpha.getextrema() == (255, 255) else alpha
    return (image if image.mode == "RGB" else image.convert("RGB")), None


def _from_16_bit(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Pillow would clip 16-bit grey at 255; the high byte is the same picture."""
    wide = np.asarray(image).astype(np.uint16)
    grey = Image.fromarray((wide >> 8).astype(np.uint8))
    clear = image.info.get("transparency")
    alpha = Image.fromarray(np.where(wide == clear, 0, 255).astype(np.uint8)) if isinstance(clear, int) else None
    return grey.convert("RGB"), alpha


def _orientation(image: ImageFile.ImageFile) -> int:
    """The EXIF orientation; unreadable EXIF does not cost a readable picture."""
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except BROKEN:
        return 1
