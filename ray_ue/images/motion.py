"""Animations: what follows the first frame of a GIF, an APNG or a WebP."""

from collections.abc import Iterator
from dataclasses import dataclass

from PIL import GifImagePlugin, ImageFile, PngImagePlugin, WebPImagePlugin

from ray_ue.images.broken import BROKEN
from ray_ue.images.conversion import Alpha, upright_pixels
from ray_ue.types import Pixels

# A TIFF's further pages are pictures of their own, with sizes of their own: no format of a copy holds them.
MOVING = GifImagePlugin.GifImageFile | PngImagePlugin.PngImageFile | WebPImagePlugin.WebPImageFile
MOST_MS = 65_535  # that a frame is shown; APNG counts in 16 bits


@dataclass(frozen=True, kw_only=True)
class Motion:
    """The frames after the first, how long each frame is shown in ms (the first one's first), and how often all are (0: for ever).

    With `poster` the first frame is for readers that show no animations, and not a part of this one.
    """

    frames: tuple[tuple[Pixels, Alpha], ...]
    durations: tuple[int, ...]
    plays: int
    poster: bool = False


def count_frames(image: ImageFile.ImageFile, *, max_pixels: int) -> int:
    """Of an animation that has at most `max_pixels` in all its frames; 1 for any other picture, and where the file is damaged."""
    try:
        frames = image.n_frames if isinstance(image, MOVING) else 1
    except BROKEN:
        return 1
    return frames if frames * image.size[0] * image.size[1] <= max_pixels else 1


def read_motion(image: ImageFile.ImageFile, *, max_pixels: int) -> Motion | None:
    """What follows the first frame, which has been taken; None where nothing does, or not all of it can be read."""
    frames = count_frames(image, max_pixels=max_pixels)
    if frames < 2:
        return None
    size, durations, poster = image.size, [_shown(image)], bool(image.info.get("default_image"))
    try:
        further = tuple(_further(image, frames, durations))
    except BROKEN:
        return None
    return Motion(frames=further, durations=tuple(durations), plays=_plays(image), poster=poster) if image.size == size else None


def _further(image: ImageFile.ImageFile, frames: int, durations: list[int]) -> Iterator[tuple[Pixels, Alpha]]:
    for number in range(1, frames):
        image.seek(number)
        image.load()
        durations.append(_shown(image))
        yield upright_pixels(image)


def _shown(image: ImageFile.ImageFile) -> int:
    return min(MOST_MS, round(image.info.get("duration") or 0))


def _plays(image: ImageFile.ImageFile) -> int:
    """How often the animation is shown; a GIF counts repetitions, and without a number is shown once."""
    again = image.info.get("loop")
    if isinstance(image, GifImagePlugin.GifImageFile):
        return 1 if again is None else int(again) and int(again) + 1
    return int(again or 0)
