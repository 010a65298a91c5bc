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
