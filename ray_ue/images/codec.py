"""Decodes image bytes safely and encodes pixels losslessly."""

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.util import find_spec

import numpy as np
from jaxtyping import UInt8
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from ray_ue.images.broken import BROKEN, NO_HEIF, Rejected, rejection
from ray_ue.images.conversion import Alpha, upright_image, upright_pixels
from ray_ue.images.metadata import FRAMES_DROPPED, losses, read_exif, read_profile
from ray_ue.images.motion import Motion, count_frames, read_motion
from ray_ue.images.png import write_png
from ray_ue.registry import pick
from ray_ue.sources.image_files import EXTENSIONS, _format, named_format
from ray_ue.types import Pixels

HEIF = ("pi_heif", "pillow_heif")  # either decodes what iPhones write; their licence (LGPL) makes the first an extra


def heif_reader() -> str:
    """The installed package that reads HEIC; empty if there is none."""
    return next((name for name in HEIF if find_spec(name)), "")


def open_heif(file: io.BytesIO) -> ImageFile.ImageFile:
    """The first picture of a HEIC file, by an optional package."""
    if not (package := heif_reader()):
        raise Rejected(NO_HEIF)
    return import_module(package).HeifImageFile(file)


Opener = Callable[[io.BytesIO], ImageFile.ImageFile]
# Plug-ins are called directly, not through Image.open: its bomb limit is a process-wide setting, `Limits` is an argument.
# The JPEG one also reads the first picture of an MPO.
OPENERS: dict[str, Opener] = {
    "jpeg": JpegImagePlugin.JpegImageFile,
    "png": PngImagePlugin.PngImageFile,
    "webp": WebPImagePlugin.WebPImageFile,
    "bmp": BmpImagePlugin.BmpImageFile,
    "gif": GifImagePlugin.GifImageFile,
    "tiff": TiffImagePlugin.TiffImageFile,
    "avif": AvifImagePlugin.AvifImageFile,
    "heif": open_heif,
}
MOST_SIDE = {"png": 2**31 - 1, "webp": 16_383, "jpeg": 65_500}


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a picture may cost to decode; checked on the header, before any pixel is."""

    max_pixels: int = 100_000_000
    max_bytes: int = 256 * 2**20
    min_side: int = 8


@dataclass(frozen=True, kw_only=True)
class Picture:
    rgb: Pixels
    alpha: Alpha
    exif: bytes
    icc: bytes
    notes: tuple[str, ...] = ()  # what the file held that no copy of it does
    motion: Motion | None = None  # what follows the first frame of an animation

    def frames(self) -> tuple[Pixels, ...]:
        """The pixels of all frames."""
        return (self.rgb, *(rgb for rgb, _ in (self.motion.frames if self.motion else ())))


def _open(data: bytes, *, limits: Limits) -> ImageFile.ImageFile:
    """The header only: no pixel is decoded before the size is known to be within the limits."""
    if not data:
        raise Rejected("zero bytes, or a link that leads nowhere")
    if len(data) > limits.max_bytes:
        raise Rejected(f"{len(data)} bytes is over {limits.max_bytes} bytes")
    name = _format(data[:32])
    if not name:
        foreign = named_format(data[:32])
        raise Rejected(f"{foreign}, a format that is not supported" if foreign else "not an image")
    if name == "tiff" and data[8:10] == b"CR":
        raise Rejected("a raw camera file")
    image = OPENERS[name](io.BytesIO(data))
    width, height = image.size
    if width * height > limits.max_pixels:
        raise Rejected(f"{width}x{height} is over {limits.max_pixels} pixels")
    if min(width, height) < limits.min_side:
        raise Rejected(f"{width}x{height} is under {limits.min_side} pixels a side")
    if isinstance(image, TiffImagePlugin.TiffImageFile) and (image.tag_v2.get(254, 0) & 1 or 50706 in image.tag_v2):
        # the first page of a raw camera file is its thumbnail
        raise Rejected("a raw camera file")
    return image


def read_size(data: bytes, *, limits: Limits) -> tuple[int, int, int]:
    """Height, width and frames, by the header; raises `Rejected` where that shows that `decode` would. No pixel is decoded."""
    try:
        image = _open(data, limits=limits)
        width, height = image.size
        return height, width, count_frames(image, max_pixels=limits.max_pixels)
    except BROKEN as error:
        raise rejection(error) from error


def check_pixels(data: bytes, *, limits: Limits) -> None:
    """Raise `Rejected` where `decode` would, for the header or for what follows it; nothing is converted."""
    try:
        _open(data, limits=limits).load()
    except BROKEN as error:
        raise rejection(error) from error


def decode(data: bytes, *, limits: Limits, moving: bool = False) -> Picture:
    """All pixels at native size, turned upright; of several frames or pages the first. Raises `Rejected`.

    With `moving` an animation's further frames are its `motion`, if they can be read and all its pixels are within the limits.
    """
    try:
        image = _open(data, limits=limits)
        image.load()
        rgb, alpha = upright_pixels(image)
        exif, icc = read_exif(image), read_profile(image)
        notes = losses(image, data)  # which goes to the last frame and back
        motion = read_motion(image, max_pixels=limits.max_pixels) if moving else None
        if motion:
            notes = tuple(note for note in notes if note != FRAMES_DROPPED)
        return Picture(rgb=rgb, alpha=alpha, exif=exif, icc=icc, notes=notes, motion=motion)
    except BROKEN as error:
        raise rejection(error) from error


def decode_square(data: bytes, *, size: int, limits: Limits) -> Pixels:
    """The surrogate's view, [size, size, 3]: upright, shorter side resized to `size`, centre crop. Raises `Rejected` as `decode` does.

    Large JPEGs are decoded at a fraction of their size, which is faster than `decode` and gives nearly the same pixels.
    """
    try:
        image = _open(data, limits=limits)
        # JPEG can decode at 1/2, 1/4 or 1/8 for little; twice the target is left so that the resize below still does the filtering
        image.draft(None, (2 * size, 2 * size))
        image.load()
        return np.array(_square(upright_image(image), size=size))
    except BROKEN as error:
        raise rejection(error) from error


def square_view(rgb: Pixels, *, size: int) -> UInt8[np.ndarray, "side side 3"]:
    """The same for pixels that are decoded already."""
    return np.array(_square(Image.fromarray(rgb), size=size))


def resized(picture: Picture, *, size: int) -> Picture:
    """The same picture as a size x size square: shorter side to `size`, centre crop."""
    motion = picture.motion
    if motion:
        motion = replace(
            motion, frames=tuple((square_view(rgb, size=size), _square_mask(alpha, size=size)) for rgb, alpha in motion.frames)
        )
    return replace(picture, rgb=square_view(picture.rgb, size=size), alpha=_square_mask(picture.alpha, size=size), motion=motion)


def _square_mask(alpha: Alpha, *, size: int) -> UInt8[np.ndarray, "side side"] | None:
    return None if alpha is None else np.array(_square(Image.fromarray(alpha), size=size))


def _square(image: Image.Image, *, size: int) -> Image.Image:
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    if side == size:  # no resampling: these pixels are the ones that get exported
        return image.crop((left, top, left + size, top + size))
    return image.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))


def _save(image: Image.Image, picture: Picture, *, format: str) -> bytes:
    out = io.BytesIO()
    if format == "webp":
        # `exact` keeps the RGB under alpha 0; method 0 is the fastest lossless search, on perturbed photos 3 times faster than Pillow's PNG
        image.save(out, "WEBP", lossless=True, exact=True, method=0, quality=0, exif=picture.exif, icc_profile=picture.icc)
    else:
        # 4:4:4, as halving the chroma planes would erase more of the perturbation than quality 95 does
        exif = picture.exif if len(picture.exif) < 65_000 else b""  # a JPEG segment holds no more
        image.save(out, "JPEG", quality=95, subsampling=0, exif=exif, icc_profile=picture.icc)
    return out.getvalue()


def refuse_side(height: int, width: int, *, format: str) -> None:
    """Raise `Rejected` for a picture that is too large for a format."""
    if max(height, width) > (most := MOST_SIDE[format]):
        raise Rejected(f"{width}x{height} is over the {most} pixels a side that {format} can hold")


def encode(picture: Picture, *, format: str) -> bytes:
    """The picture as a file. "png" and "webp" keep every pixel; "jpeg" changes them and has no alpha.

    Only "png" holds `motion`; the others hold the first frame.
    """
    pick(EXTENSIONS, format, what="image format")
    refuse_side(*picture.rgb.shape[:2], format=format)
    if format == "png":
        return write_png(picture.rgb, picture.alpha, exif=picture.exif, icc=picture.icc, motion=picture.motion)
    if picture.alpha is None or format == "jpeg":
        return _save(Image.fromarray(picture.rgb), picture, format=format)
    return _save(Image.fromarray(np.dstack([picture.rgb, picture.alpha])), picture, format=format)
