"""Pictures that cannot be protected: the error that says so, and what Pillow raises on bytes that are damaged."""

import struct
import zlib

from PIL import Image

# All that Pillow and its codecs raise on bytes made by others.
BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    OverflowError,
    ZeroDivisionError,
    EOFError,
    RuntimeError,
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Warning,  # raised only where the process turns warnings into errors
)


class Rejected(Exception):
    """A picture that cannot be protected; the text is one short line with the reason."""


def rejection(error: BaseException) -> Rejected:
    words = " ".join(str(error).split())[:120] or type(error).__name__
    return Rejected(f"truncated: {words}" if "truncated" in words.lower() else f"damaged: {words}")


FOR_HEIF = "HEIC, which needs"
NO_HEIF = f"{FOR_HEIF} the package pi-heif"
# What to do about a reason, by words that are in it; the first that fits.
REMEDIES = {
    FOR_HEIF: "pip install 'ray-ue[heic]' reads HEIC (give the same line again then)",
    "JPEG XL": "djxl PICTURE.jxl PICTURE.png converts JPEG XL",
    "Photoshop": "export Photoshop files as PNG",
    "raw camera": "develop raw camera files to PNG or TIFF first (darktable-cli, rawtherapee-cli)",
    "not supported": "convert formats that are not supported to PNG (magick PICTURE PICTURE.png)",
    "32-bit": "save 32-bit pictures with 8 or 16 bits",
    "can hold": "--image-format png holds pictures of any size (in a new copy); or make them smaller",
    "pixels a side": "remove pictures that are too small to hold a perturbation",
    "pixels": "--max-pixels allows larger pictures",
    "bytes is over": "save very large files anew",
    "zero bytes": "fetch empty, truncated and damaged files again",
    "truncated": "fetch empty, truncated and damaged files again",
    "damaged": "fetch empty, truncated and damaged files again",
}


def remedy(reason: str) -> str:
    """What to do about a picture that was rejected for this reason."""
    return next((advice for words, advice in REMEDIES.items() if words in reason), "remove what is no picture, or correct its name")
