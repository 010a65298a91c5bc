"""What web sites do to uploaded photographs: which sizes they keep, and how they save them."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Platform:
    """Images of a longer side than `longest` pixels, or of more than `area` pixels, are scaled down; `subsampling` is that of colour."""

    quality: int
    subsampling: str
    longest: float = math.inf
    area: float = math.inf

    def scale(self, height: int, width: int) -> float:
        """The factor from the size of an upload to that of what is shown, at most 1."""
        return min(1.0, self.longest / max(height, width), math.sqrt(self.area / (height * width)))


# `social`: 2,048 px is the largest size of photographs that Facebook's help centre names; it names no quality, and 85 is ours.
# `wordpress`: the defaults of `big_image_size_threshold` and of `WP_Image_Editor`; below quality 90 ImageMagick halves the colour.
# `mediawiki`: the defaults of `$wgJpegQuality` and `$wgJpegPixelFormat` (mediawiki.org, Manual), for thumbnails.
# `mastodon`: `IMAGE_STYLES` and the convert options of `app/models/media_attachment.rb`; from quality 90 ImageMagick keeps the colour.
PLATFORMS = {
    "social": Platform(longest=2048, quality=85, subsampling="4:2:0"),
    "wordpress": Platform(longest=2560, quality=82, subsampling="4:2:0"),
    "mediawiki": Platform(quality=80, subsampling="4:2:0"),
    "mastodon": Platform(area=8_294_400, quality=90, subsampling="4:4:4"),
}


def shrinking(height: int, width: int) -> list[str]:
    """The sites that would scale a picture of this size down."""
    return [name for name, site in PLATFORMS.items() if site.scale(height, width) < 1]
