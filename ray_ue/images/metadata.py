"""What a picture's file says besides its pixels: what a copy may keep of it, what it may not, and what is lost on the way."""

from dataclasses import dataclass
from typing import Literal

from PIL import GifImagePlugin, Image, ImageFile, PngImagePlugin, TiffImagePlugin, WebPImagePlugin

from ray_ue.images.broken import BROKEN

Strip = Literal["location", "all", "none"]
ORIENTATION, EXIF_IFD, GPS_IFD = 0x0112, 0x8769, 0x8825
# Tags whose value can be a picture, or a record that repeats the place: thumbnails, resources of Photoshop, XMP, IPTC, maker notes,
# directories of further pictures, private data of raw files.
UNSAFE = frozenset((0x014A, 0x02BC, 0x0201, 0x0202, 0x501B, 0x83BB, 0x8649, 0x8773, 0x927C, 0xA005, 0xA40B, 0xC4A5, 0xC634, 0xEA1C))
MOST_BYTES = 2048  # of one value: more words than a caption has, fewer than a picture of the picture
FRAMES = GifImagePlugin.GifImageFile | TiffImagePlugin.TiffImageFile | WebPImagePlugin.WebPImageFile | PngImagePlugin.PngImageFile
FRAMES_DROPPED = "further frames or pages dropped"
DENSITY = (ORIENTATION, 0x011A, 0x011B, 0x0128, 0x0213, 0x0103, 0x0106, 0x0100, 0x0101)  # and size: they tell nothing of anybody


@dataclass(frozen=True, kw_only=True)
class Kept:
    """The EXIF block of a copy, and notes on what the file said: one short phrase each."""

    exif: bytes
    notes: tuple[str, ...]


def read_exif(image: ImageFile.ImageFile) -> bytes:
    """The EXIF block without orientation, and without all that may hold a clean copy of the picture; the place is in it."""
    if "exif" not in image.info:  # a TIFF's own tags describe its strips, not the photo
        return b""
    try:
        before, after = image.getexif(), Image.Exif()
        for tag, value in before.items():
            if tag not in (ORIENTATION, EXIF_IFD, GPS_IFD) and is_harmless(tag, value):
                after[tag] = value
        for tag in (EXIF_IFD, GPS_IFD):
            if tag in before:
                after[tag] = {inner: value for inner, value in before.get_ifd(tag).items() if is_harmless(inner, value)}
        return after.tobytes() if len(after) else b""
    except BROKEN:
        return b""


def is_harmless(tag: int, value: object) -> bool:
    """Whether a value cannot be a picture."""
    return tag not in UNSAFE and not (isinstance(value, bytes | str) and len(value) > MOST_BYTES)


def read_profile(image: ImageFile.ImageFile) -> bytes:
    """The colour profile, when it still describes the pixels after they became RGB."""
    profile = image.info.get("icc_profile") or b""
    return profile if profile[16:20] == b"RGB " and image.mode not in ("1", "L", "LA", "CMYK") else b""


def losses(image: ImageFile.ImageFile, data: bytes) -> tuple[str, ...]:
    """What the file of these bytes holds and no copy of it does, of an image whose pixels have been taken."""
    info = image.info
    dropped = {
        "text dropped": isinstance(image, PngImagePlugin.PngImageFile) and bool(image.text),
        "XMP dropped": "xmp" in info or "XML:com.adobe.xmp" in info,
        "dpi dropped": "dpi" in info and info.get("jfif_unit", 1) != 0,
        "gamma dropped": "gamma" in info,
        "16 bits made 8": image.mode.startswith("I;16"),
        FRAMES_DROPPED: has_frames(image),
        "further pictures of an MPO dropped": "mp" in info,
        "cut off, and frames may be missing": isinstance(image, GifImagePlugin.GifImageFile) and is_cut_off(data),
    }
    return tuple(note for note, holds in dropped.items() if holds)


def has_frames(image: ImageFile.ImageFile) -> bool:
    """Whether there is more than one frame or page; damage behind the first does not cost a readable picture."""
    try:
        return isinstance(image, FRAMES) and image.n_frames > 1
    except BROKEN:
        return True


def is_cut_off(data: bytes) -> bool:
    """Whether a GIF ends without the mark of its end: where its frames end too early, nothing else shows it."""
    return not data.rstrip(b"\0\r\n").endswith(b";")


def strip_exif(exif: bytes, *, strip: Strip) -> Kept:
    """Take the place, everything or nothing out of an EXIF block."""
    if not exif:
        return Kept(exif=b"", notes=())
    block = Image.Exif()
    block.load(exif)
    place = bool(block.get_ifd(GPS_IFD))
    person = bool(block.get_ifd(EXIF_IFD)) or any(tag not in (*DENSITY, EXIF_IFD, GPS_IFD) for tag in block)
    notes = {"none": "a place kept"}.get(strip, "a place removed") if place else ""
    if strip == "all":
        return Kept(exif=b"", notes=tuple(filter(None, (notes, "camera, time or owner removed" if person else ""))))
    if strip == "location" and place:
        exif = without_place(block)
    return Kept(exif=exif, notes=tuple(filter(None, (notes, "camera, time or owner kept" if person else ""))))


def without_place(block: Image.Exif) -> bytes:
    after = Image.Exif()
    for tag, value in block.items():
        if tag not in (EXIF_IFD, GPS_IFD):
            after[tag] = value
    if inner := block.get_ifd(EXIF_IFD):
        after[EXIF_IFD] = dict(inner)
    return after.tobytes() if len(after) else b""
