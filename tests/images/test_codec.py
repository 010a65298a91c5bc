"""Laws of decoding and encoding: what goes in comes out, and what cannot is rejected in one line."""

import io
import struct
import warnings
import zlib
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageOps

from ray_ue.images.codec import Limits, Picture, Rejected, decode, decode_square, encode, resized, square_view
from ray_ue.sources.image_files import EXTENSIONS, kind_of_name, looks_like_image
from ray_ue.stages.protect.views import PlainView

LIMITS = Limits()
PHOTOS = sorted((Path(__file__).parents[3] / "shared/data/imagenet-sample").glob("*.parquet"))


def pixels(height: int = 24, width: int = 40, *, seed: int = 0, channels: int = 3) -> np.ndarray:
    """Smooth enough for JPEG to keep, different in every corner."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (4, 4, channels), np.uint8).squeeze())
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))


def saved(image: Image.Image, *, format: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


RGB = Image.fromarray(pixels())
GREY = Image.fromarray(pixels(channels=1))
RGBA = Image.fromarray(np.dstack([pixels(), pixels(seed=1, channels=1)]))
WIDE = Image.fromarray(pixels(channels=1).astype(np.uint16) * 257)
FORMATS = {
    "avif": saved(RGB, format="AVIF", quality=95),
    "png rgb": saved(RGB, format="PNG"),
    "png grey": saved(GREY, format="PNG"),
    "png rgba": saved(RGBA, format="PNG"),
    "png la": saved(RGBA.convert("LA"), format="PNG"),
    "png palette": saved(RGB.quantize(16), format="PNG"),
    "png palette clear": saved(RGB.quantize(16), format="PNG", transparency=3),
    "png grey clear": saved(GREY, format="PNG", transparency=int(np.asarray(GREY)[0, 0])),
    "png 1 bit": saved(GREY.convert("1"), format="PNG"),
    "png 16 bit": saved(WIDE, format="PNG"),
    "tiff 16 bit": saved(WIDE, format="TIFF"),
    "tiff rgb": saved(RGB, format="TIFF", compression="tiff_lzw"),
    "tiff cmyk": saved(RGB.convert("CMYK"), format="TIFF"),
    "jpeg rgb": saved(RGB, format="JPEG"),
    "jpeg progressive": saved(RGB, format="JPEG", progressive=True),
    "jpeg grey": saved(GREY, format="JPEG"),
    "jpeg cmyk": saved(RGB.convert("CMYK"), format="JPEG"),
    "mpo": saved(RGB, format="MPO", save_all=True, append_images=[GREY.convert("RGB")]),
    "webp": saved(RGB, format="WEBP"),
    "webp rgba": saved(RGBA, format="WEBP", lossless=True),
    "webp moving": saved(RGB, format="WEBP", save_all=True, append_images=[GREY.convert("RGB")]),
    "gif": saved(RGB, format="GIF"),
    "gif moving": saved(RGB, format="GIF", save_all=True, append_images=[GREY.convert("RGB")]),
    "bmp": saved(RGB, format="BMP"),
}
BAD = {
    "nothing": (b"", "zero bytes, or a link that leads nowhere"),
    "text": (b"hello, this is no picture " * 9, "not an image"),
    "html": (b"<!DOCTYPE html><html>404 not found</html>", "not an image"),
    "heic": (b"\0\0\0\x18ftypheic" + b"\0" * 50, "HEIC" if find_spec("pi_heif") is None else "damaged"),
    "jpeg xl": (b"\xff\x0a" + b"\0" * 50, "JPEG XL, a format that is not supported"),
    "photoshop": (b"8BPS\0\1" + b"\0" * 50, "Photoshop, a format that is not supported"),
    "icon": (saved(RGB, format="ICO"), "Windows icon, a format that is not supported"),
    "pixmap": (saved(RGB, format="PPM"), "portable pixmap, a format that is not supported"),
    "pcx": (saved(RGB, format="PCX"), "PCX, a format that is not supported"),
    "targa": (saved(RGB, format="TGA"), "Targa, a format that is not supported"),
    "postscript": (saved(RGB, format="EPS"), "PostScript, a format that is not supported"),
    "cut avif": (saved(RGB, format="AVIF")[:-60], "runcated"),
    "one pixel": (saved(Image.new("RGB", (1, 1)), format="PNG"), "1x1 is under 8 pixels a side"),
    "bomb": (saved(Image.new("1", (20_000, 20_000)), format="PNG"), "20000x20000 is over 100000000 pixels"),
    "cut jpeg": (saved(RGB, format="JPEG")[:-60], "truncated"),
    "cut png": (saved(RGB, format="PNG")[:400], ""),
    "cut webp": (saved(RGB, format="WEBP")[:-60], ""),
    "cut gif": (saved(RGB, format="GIF")[:60], ""),
    "cut tiff": (saved(RGB, format="TIFF")[:300], ""),
    "head only": (b"\x89PNG\r\n\x1a\n", ""),
    "float": (saved(Image.fromarray(np.zeros((16, 16), np.float32)), format="TIFF"), "32-bit floating-point"),
    "int": (saved(Image.fromarray(np.zeros((16, 16), np.int32)), format="TIFF"), "32-bit integer"),
    "raw": (b"II*\0\x10\0\0\0CR\2\0" + b"\0" * 50, "a raw camera file"),
    "thumbnail": (saved(RGB, format="TIFF", tiffinfo={254: 1}), "a raw camera file"),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_pixel_format_decodes_and_survives_both_lossless_encodings(name: str) -> None:
    picture = decode(FORMATS[name], limits=LIMITS)
    assert picture.rgb.shape == (24, 40, 3)
    assert picture.rgb.dtype == np.uint8
    for format in ("png", "webp"):
        again = decode(encode(picture, format=format), limits=LIMITS)
        np.testing.assert_array_equal(again.rgb, picture.rgb)
        assert (again.alpha is None) == (picture.alpha is None)
        if again.alpha is not None:
            np.testing.assert_array_equal(again.alpha, picture.alpha)


@pytest.mark.parametrize("name", FORMATS)
def test_the_picture_is_the_one_that_was_saved(name: str) -> None:
    """Within what JPEG, CMYK and a palette of 16 may cost; a wrong channel, clipped grey or inverted ink would be far outside."""
    picture = decode(FORMATS[name], limits=LIMITS)
    grey = {"png grey", "png grey clear", "png 16 bit", "tiff 16 bit", "jpeg grey", "png 1 bit"}
    la = np.asarray(RGBA.convert("LA"))[..., :1]
    wanted = pixels(channels=1)[..., None] if name in grey else la if name == "png la" else pixels()
    error = np.abs(picture.rgb.astype(int) - wanted).mean()
    assert error < (100 if name == "png 1 bit" else 30 if "palette" in name else 6), error
    assert (picture.alpha is not None) == any(word in name for word in ("rgba", "png la", "clear"))


@pytest.mark.parametrize("name", BAD)
def test_bad_bytes_are_rejected_in_one_line_by_decode_and_look_alike(name: str) -> None:
    data, phrase = BAD[name]
    reasons = []
    for read in (lambda: decode(data, limits=LIMITS), lambda: decode_square(data, size=16, limits=LIMITS)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as in a run: what Pillow only warns of must not decide
            with pytest.raises(Rejected) as caught:
                read()
        reasons.append(str(caught.value))
    assert phrase in reasons[0]
    assert reasons[0] == reasons[1]
    assert "\n" not in reasons[0]
    assert len(reasons[0]) < 160


def test_too_many_bytes_are_rejected_with_both_numbers() -> None:
    with pytest.raises(Rejected, match=r"\d+ bytes is over 10 bytes"):
        decode(FORMATS["bmp"], limits=Limits(max_bytes=10))


def test_limits_rule_and_pillow_does_not_warn() -> None:
    big = saved(Image.new("1", (10_000, 9_500)), format="PNG")  # over Pillow's own warning, under our limit
    assert decode_square(big, size=8, limits=LIMITS).shape == (8, 8, 3)


@settings(max_examples=300, deadline=None)
@given(name=st.sampled_from(sorted(FORMATS)), cut=st.floats(0, 1), flip=st.integers(0, 255))
def test_no_damage_escapes_as_another_exception(name: str, cut: float, flip: int) -> None:
    data = bytearray(FORMATS[name])
    data[int(cut * (len(data) - 1))] ^= flip
    for bytes_ in (bytes(data), FORMATS[name][: int(cut * len(data))]):
        outcomes = []
        for read in (lambda b=bytes_: decode(b, limits=LIMITS), lambda b=bytes_: decode_square(b, size=16, limits=LIMITS)):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    read()
                outcomes.append("")
            except Rejected as error:
                outcomes.append(str(error))
        assert bool(outcomes[0]) == bool(outcomes[1]), outcomes


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_orientation_is_applied_and_removed(turn: int, format: str) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = turn, "maker"
    stored = Image.fromarray(pixels(64, 96))
    picture = decode(saved(stored, format=format, exif=exif, **({"quality": 100} if format in ("JPEG", "WEBP") else {})), limits=LIMITS)
    stored.getexif()[0x0112] = turn
    upright = np.asarray(ImageOps.exif_transpose(stored))
    assert picture.rgb.shape == upright.shape
    assert np.abs(picture.rgb.astype(int) - upright).mean() < 4
    for encoded in EXTENSIONS:
        kept = Image.open(io.BytesIO(encode(picture, format=encoded))).getexif()
        assert 0x0112 not in kept
        assert format == "TIFF" or kept[0x010F] == "maker"


def test_thumbnail_and_maker_note_in_exif_are_dropped() -> None:
    """Either may be a clean copy of the picture."""
    inner = struct.pack("<HHHII", 1, 0x927C, 7, 4, 0x41424344) + struct.pack("<I", 0)
    ifd0 = struct.pack("<H", 2) + struct.pack("<HHII", 0x010F, 2, 4, 0x006B616D) + struct.pack("<HHII", 0x8769, 4, 1, 38)
    ifd1 = struct.pack("<HHHII", 1, 0x0201, 4, 1, 80) + struct.pack("<I", 0)
    head = b"II*\0" + struct.pack("<I", 8) + ifd0 + struct.pack("<I", 38 + len(inner)) + inner + ifd1
    exif = b"Exif\0\0" + head.ljust(80, b"\0") + b"THUMBNAIL"
    picture = decode(saved(RGB, format="JPEG", exif=exif), limits=LIMITS)
    assert b"mak" in picture.exif
    assert b"THUMBNAIL" not in picture.exif
    assert b"DCBA" not in picture.exif


def test_unreadable_exif_does_not_cost_the_picture() -> None:
    data = saved(RGB, format="JPEG", exif=b"Exif\0\0garbage that is no TIFF header")
    assert decode(data, limits=LIMITS).exif == b""


def test_colour_profile_is_kept_for_rgb_only() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert decode(saved(RGB, format="JPEG", icc_profile=profile), limits=LIMITS).icc == profile
    assert decode(saved(GREY, format="JPEG", icc_profile=profile), limits=LIMITS).icc == b""
    picture = decode(saved(RGB, format="PNG", icc_profile=profile), limits=LIMITS)
    for format in EXTENSIONS:
        assert decode(encode(picture, format=format), limits=LIMITS).icc == profile


def test_colour_under_full_transparency_is_kept() -> None:
    picture = Picture(rgb=pixels(), alpha=np.zeros((24, 40), np.uint8), exif=b"", icc=b"")
    for format in ("png", "webp"):
        np.testing.assert_array_equal(decode(encode(picture, format=format), limits=LIMITS).rgb, picture.rgb)


def test_16_bit_png_with_a_transparent_value() -> None:
    wide = np.asarray(WIDE)
    data = saved(WIDE, format="PNG")
    body = b"tRNS" + struct.pack(">H", int(wide[0, 0]))
    at = data.index(b"IDAT") - 4
    data = data[:at] + struct.pack(">I", 2) + body + struct.pack(">I", zlib.crc32(body)) + data[at:]
    alpha = decode(data, limits=LIMITS).alpha
    assert alpha is not None
    np.testing.assert_array_equal(alpha == 0, wide == wide[0, 0])


@pytest.mark.parametrize("shape", [(32, 32), (32, 57), (90, 32)])
def test_look_does_not_resample_what_has_the_size(shape: tuple[int, int]) -> None:
    rgb = pixels(*shape)
    seen = decode_square(saved(Image.fromarray(rgb), format="PNG"), size=32, limits=LIMITS)
    top, left = (shape[0] - 32) // 2, (shape[1] - 32) // 2
    np.testing.assert_array_equal(seen, rgb[top : top + 32, left : left + 32])


@pytest.mark.parametrize("turn", range(1, 9))
def test_look_sees_what_decode_gives(turn: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = turn
    data = saved(Image.fromarray(pixels(900, 1300)), format="JPEG", quality=95, exif=exif)  # decoded at 1/8 for a view of 32
    seen = decode_square(data, size=32, limits=LIMITS).astype(int)
    assert np.abs(seen - square_view(decode(data, limits=LIMITS).rgb, size=32)).mean() < 2


def test_pixels_may_be_written_to() -> None:
    """torch warns of arrays that may not."""
    picture = decode(FORMATS["png rgba"], limits=LIMITS)
    assert picture.alpha is not None
    assert all(a.flags.writeable for a in (picture.rgb, picture.alpha, decode_square(FORMATS["bmp"], size=16, limits=LIMITS)))


def test_resized_keeps_alpha_and_metadata_and_does_nothing_at_size() -> None:
    picture = Picture(rgb=pixels(), alpha=pixels(channels=1), exif=b"Exif\0\0x", icc=b"y")
    small = resized(picture, size=16)
    assert small.alpha is not None
    assert (small.rgb.shape, small.alpha.shape, small.exif, small.icc) == ((16, 16, 3), (16, 16), picture.exif, picture.icc)
    np.testing.assert_array_equal(resized(small, size=16).rgb, small.rgb)


def test_unknown_format_is_named() -> None:
    picture = decode(FORMATS["bmp"], limits=LIMITS)
    with pytest.raises(ValueError, match="no image format is called 'gif'; there are jpeg, png, webp"):
        encode(picture, format="gif")


def test_a_side_too_long_for_the_format_is_rejected() -> None:
    long = Picture(rgb=np.zeros((8, 16_384, 3), np.uint8), alpha=None, exif=b"", icc=b"")
    with pytest.raises(Rejected, match="16384x8 is over the 16383 pixels a side that webp can hold"):
        encode(long, format="webp")
    assert decode(encode(long, format="png"), limits=LIMITS).rgb.shape == long.rgb.shape


def test_jpeg_is_close_and_opaque() -> None:
    picture = decode(FORMATS["png rgba"], limits=LIMITS)
    again = decode(encode(picture, format="jpeg"), limits=LIMITS)
    assert again.alpha is None
    assert np.abs(again.rgb.astype(int) - picture.rgb).mean() < 3


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_recognised_without_a_name(name: str) -> None:
    assert looks_like_image(FORMATS[name][:32])


def test_names() -> None:
    for name in ("a.JPG", "b/c.heic", "raw.NEF", "x.tar.png", "x.avif"):
        assert kind_of_name(name) == "image", name
    for name in ("a.txt", "a.svg", "x.png.json", "readme.md"):
        assert kind_of_name(name) == "other", name
    for name in ("photo", ".jpg", "v1.2", "a."):
        assert kind_of_name(name) == "unknown", name
    for text in (b"BM is how this text begins, but it is no bitmap", b"", b"GIF", b"II", b'{"a": 1}'):
        assert not looks_like_image(text)


@pytest.mark.skipif(not PHOTOS, reason="the sample of ImageNet photos is not on this machine")
def test_photos_decode_and_look_alike() -> None:
    for path in PHOTOS:
        for cell in pq.read_table(path, columns=["image"])["image"].to_pylist()[::5]:
            picture = decode(cell["bytes"], limits=LIMITS)
            seen = decode_square(cell["bytes"], size=32, limits=LIMITS).astype(int)
            assert np.abs(seen - square_view(picture.rgb, size=32)).mean() < 12


def test_views_for_crafting_are_those_of_the_export_to_the_pixel() -> None:
    data = saved(Image.fromarray(pixels(900, 1300)), format="JPEG", quality=95)
    view = PlainView(canvas=32, limits=LIMITS)(data, 0, -1)
    np.testing.assert_array_equal(view, square_view(decode(data, limits=LIMITS).rgb, size=32))
    assert not np.array_equal(view, decode_square(data, size=32, limits=LIMITS))
