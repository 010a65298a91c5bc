"""Which files of a source travel into its copy, by their names: images, shards and known sidecars; all others are left out for a reason."""

import posixpath
import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Final

from ray_ue.sources.image_files import suffix_of

# Captions, labels and metadata as trainers read them beside images; words about the collection.
CAPTIONS, WORDS = (".txt", ".caption", ".captions", ".tags"), (".md", ".rst")
LABELS = (".cls", ".cls2", ".csv", ".tsv", ".json", ".jsonl", ".xml")
SIDECARS: Final = frozenset((*CAPTIONS, *LABELS, *WORDS))
NAMES: Final = frozenset(["metadata.parquet", "readme", "license", "licence", "copying", "notice", "authors", "citation", "citation.cff"])

# Folders that systems and programs keep beside pictures: previews, waste, and the resource forks of a Macintosh archive.
TOOL_FOLDERS: Final = frozenset(["__macosx", "@eadir", "#recycle", "#snapshot", "$recycle.bin", "lost+found", "__pycache__"]) | {
    "system volume information"
}
TOOL_FILES: Final = frozenset(("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "picasa.ini"))

# What Google Takeout writes beside a picture: the place, the people, the time.
TAKEOUT = re.compile(r"\.(jpe?g|png|gif|webp|heic|heif|bmp|tiff?|mp4|mov|mp|dng)(\.[a-z-]*)?(\(\d+\))?\.json$", re.IGNORECASE)

HIDDEN, UNKNOWN, PLACES = "hidden or of a system", "of no known use beside images", "records of places (Takeout)"
KINDS: Final = {
    "archives": ".zip .7z .rar .gz .tgz .bz2 .xz .zst .tar .tbz2 .txz .iso .dmg",
    "video and sound": ".mp4 .mov .avi .mkv .webm .m4v .3gp .mts .mpg .mpeg .wmv .mp3 .wav .flac .m4a .ogg .aac",
    "databases": ".db .sqlite .sqlite3 .mdb .lrcat",
    "arrays and weights": ".npy .npz .pt .pth .safetensors .pkl .h5 .hdf5 .mat .parquet .arrow .ckpt .onnx",
    "documents that may hold pictures": ".svg .pdf .html .htm .docx .pptx .xlsx .odt .ipynb .ai",
}
KIND_OF_SUFFIX: Final = {suffix: kind for kind, suffixes in KINDS.items() for suffix in suffixes.split()}


def is_hidden(name: str) -> bool:
    """Whether a file, or a folder above it, is hidden or belongs to a system or a program: neither an image nor a class."""
    *folders, base = name.split("/")
    return (
        any(part.startswith(".") for part in (*folders, base))
        or any(folder.lower() in TOOL_FOLDERS for folder in folders)
        or base.lower() in TOOL_FILES
    )


def is_carried(name: str, patterns: Sequence[str]) -> bool:
    """Whether the user asked for this file: a pattern fits its path or its last part."""
    return any(fnmatchcase(name, pattern) or fnmatchcase(posixpath.basename(name), pattern) for pattern in patterns)


def why_left_out(name: str) -> str:
    """Why a file that is neither image nor shard does not travel; empty for a known sidecar."""
    base, suffix = posixpath.basename(name).lower(), suffix_of(name).lower()
    if TAKEOUT.search(base):
        return PLACES
    if base in NAMES or suffix in SIDECARS:
        return ""
    return KIND_OF_SUFFIX.get(suffix, UNKNOWN)
