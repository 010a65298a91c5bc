"""Animations: every frame is read and written, and what cannot be kept is told."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from ray_ue.images.codec import Limits, decode, encode, read_size, resized
from ray_ue.images.metadata import FRAMES_DROPPED

LIMITS = Limits()
SIDE, TIMES = 24, [40, 120, 250]


def frames(mode: str = "RGB") -> list[Image.Image]:
    rng = np.random.default_rng(0)
    pictures = [Image.fromarray(rng.integers(0, 256, (SIDE, 32, 3), np.uint8)) for _ in TIMES]
    if mode == "RGBA":
        for picture in pictures[1:]:
            picture.putalpha(Image.fromarray(rng.integers(1, 255, (SIDE, 32), np.uint8)))
    return pictures


def animation(format: str, mode: str = "RGB", **options: object) -> bytes:
    first, *others = frames(mode)
    first.save(out := io.BytesIO(), format, save_all=True, append_images=others, duration=TIMES, **options)
    return out.getvalue()


@pytest.mark.parametrize(
    ("format", "mode", "options"),
    [
        ("PNG", "RGB", {"loop": 3}),
        ("PNG", "RGBA", {"loop": 0}),
        ("WEBP", "RGB", {"lossless": True, "loop": 3}),
        ("WEBP", "RGBA", {"lossless": True}),
    ],
)
def test_an_animation_is_read_and_written_frame_by_frame(format: str, mode: str, options: dict) -> None:
    data = animation(format, mode, **options)
    picture = decode(data, limits=LIMITS, moving=True)
    assert picture.motion is not None
    assert FRAMES_DROPPED not in picture.notes
    assert picture.motion.durations == tuple(TIMES)
    assert picture.motion.plays == options.get("loop", 0)
    for wanted, found in zip(frames(mode), picture.frames(), strict=True):
        assert (np.asarray(wanted.convert("RGB")) == found).all()
    written = encode(picture, format="png")
    again = decode(written, limits=LIMITS, moving=True)
    assert again.motion is not None
    assert (again.motion.durations, again.motion.plays) == (picture.motion.durations, picture.motion.plays)
    for one, two in zip(picture.motion.frames, again.motion.frames, strict=True):
        assert (one[0] == two[0]).all()
        assert (one[1] is None) == (two[1] is None)
        assert one[1] is None or (one[1] == two[1]).all()
    reader = Image.open(io.BytesIO(written))
    reader.seek(1)
    assert np.asarray(reader.convert("RGB")).shape == (SIDE, 32, 3)


def test_a_gif_is_read_as_it_is_shown() -> None:
    data = animation("GIF", loop=4)
    picture = decode(data, limits=LIMITS, moving=True)
    assert picture.motion is not None
    assert (picture.motion.durations, picture.motion.plays) == (tuple(TIMES), 5)
    shown = Image.open(io.BytesIO(data))
    for number, frame in enumerate(picture.frames()):
        shown.seek(number)
        assert (np.asarray(shown.convert("RGB")) == frame).all()


def test_a_poster_stays_outside_the_animation() -> None:
    picture = decode(animation("PNG", default_image=True), limits=LIMITS, moving=True)
    assert picture.motion is not None
    assert picture.motion.poster
    again = decode(encode(picture, format="png"), limits=LIMITS, moving=True)
    assert again.motion is not None
    assert again.motion.poster
    for one, two in zip(picture.frames(), again.frames(), strict=True):
        assert (one == two).all()


def test_all_frames_count_as_pixels_and_too_many_are_dropped() -> None:
    data = animation("GIF")
    assert read_size(data, limits=LIMITS) == (SIDE, 32, 3)
    tight = replace(LIMITS, max_pixels=2 * SIDE * 32)
    picture = decode(data, limits=tight, moving=True)
    assert picture.motion is None
    assert FRAMES_DROPPED in picture.notes
    assert read_size(data, limits=tight) == (SIDE, 32, 1)


def test_damage_behind_the_first_frame_costs_the_others_alone() -> None:
    data = animation("PNG")
    picture = decode(data[: len(data) * 2 // 3], limits=LIMITS, moving=True)
    assert picture.motion is None
    assert FRAMES_DROPPED in picture.notes
    assert (picture.rgb == np.asarray(frames()[0])).all()


@pytest.mark.parametrize("format", ["webp", "jpeg"])
def test_other_formats_hold_the_first_frame(format: str) -> None:
    picture = decode(animation("GIF"), limits=LIMITS, moving=True)
    assert decode(encode(picture, format=format), limits=LIMITS, moving=True).motion is None


def test_every_frame_becomes_a_square() -> None:
    small = resized(decode(animation("PNG", "RGBA"), limits=LIMITS, moving=True), size=16)
    assert [frame.shape for frame in small.frames()] == [(16, 16, 3)] * 3
    assert small.motion is not None
    assert all(alpha is not None and alpha.shape == (16, 16) for _, alpha in small.motion.frames)
