"""What a copy keeps of an image's metadata, and what it says of the rest."""

import io

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from ray_ue.images.codec import Limits, decode
from ray_ue.images.metadata import strip_exif

PLACE = {1: "N", 2: (48.0, 8.0, 0.0), 3: "E", 4: (11.0, 34.0, 0.0)}
RGB = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 40, 3), np.uint8))


def photograph(*, place: bool = True, format: str = "JPEG", **save: object) -> bytes:
    exif = Image.Exif()
    exif[0x010F], exif[0x013B] = "Canon", "A. Artist"
    exif[0x8769] = {0xA431: "SERIAL-1", 0x9003: "2026:01:01 12:00:00", 0x927C: b"MAKERNOTE"}
    exif[0x8649] = b"8BIM" + b"thumb" * 40
    exif[0x9C9B] = b"P" * 5000
    if place:
        exif[0x8825] = PLACE
    RGB.save(out := io.BytesIO(), format, exif=exif, **save)
    return out.getvalue()


def block(data: bytes) -> Image.Exif:
    exif = Image.Exif()
    exif.load(data)
    return exif


def test_the_place_goes_and_the_rest_stays_by_default() -> None:
    kept = strip_exif(decode(photograph(), limits=Limits()).exif, strip="location")
    assert kept.notes == ("a place removed", "camera, time or owner kept")
    after = block(kept.exif)
    assert after[0x010F] == "Canon"
    assert dict(after.get_ifd(0x8769)) == {0xA431: "SERIAL-1", 0x9003: "2026:01:01 12:00:00"}
    assert not after.get_ifd(0x8825)


def test_all_leaves_nothing_and_none_leaves_the_place() -> None:
    exif = decode(photograph(), limits=Limits()).exif
    assert strip_exif(exif, strip="all").exif == b""
    assert strip_exif(exif, strip="all").notes == ("a place removed", "camera, time or owner removed")
    kept = strip_exif(exif, strip="none")
    assert kept.notes == ("a place kept", "camera, time or owner kept")
    assert block(kept.exif).get_ifd(0x8825)[1] == "N"


def test_a_block_without_a_place_is_not_touched() -> None:
    exif = decode(photograph(place=False), limits=Limits()).exif
    assert strip_exif(exif, strip="location").exif == exif
    assert strip_exif(b"", strip="location").notes == ()


@pytest.mark.parametrize("word", [b"thumb", b"MAKERNOTE", b"PPPP"])
def test_what_can_hold_a_picture_never_stays(word: bytes) -> None:
    data = photograph()
    assert word in data
    assert word not in decode(data, limits=Limits()).exif


def test_text_dpi_gamma_and_frames_that_are_lost_are_told() -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "drawn at home")
    text.add(b"gAMA", (45455).to_bytes(4, "big"))
    RGB.save(png := io.BytesIO(), "PNG", pnginfo=text, dpi=(300, 300))
    assert set(decode(png.getvalue(), limits=Limits()).notes) == {"text dropped", "dpi dropped", "gamma dropped"}
    RGB.save(gif := io.BytesIO(), "GIF", save_all=True, append_images=[RGB.transpose(Image.Transpose.ROTATE_180)])
    assert decode(gif.getvalue(), limits=Limits()).notes == ("further frames or pages dropped",)
    RGB.save(plain := io.BytesIO(), "PNG")
    assert decode(plain.getvalue(), limits=Limits()).notes == ()


def test_a_second_picture_and_lost_frames_are_told() -> None:
    RGB.save(mpo := io.BytesIO(), "MPO", save_all=True, append_images=[RGB])
    assert decode(mpo.getvalue(), limits=Limits()).notes == ("further pictures of an MPO dropped",)
    RGB.quantize(8).save(gif := io.BytesIO(), "GIF", save_all=True, append_images=[RGB.rotate(180).quantize(8)])
    second = gif.getvalue().rindex(b"\x21\xf9\x04")  # where the second frame begins
    cut = decode(gif.getvalue()[:second], limits=Limits(), moving=True)
    assert cut.motion is None
    assert cut.notes == ("cut off, and frames may be missing",)
    assert decode(gif.getvalue(), limits=Limits(), moving=True).notes == ()
