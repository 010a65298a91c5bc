"""Which files of a source travel into its copy: images, shards, and known sidecars that are what their names say; all others stay."""

import codecs
import posixpath
import re
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from ray_ue.sources.image_files import looks_like_image, suffix_of
from ray_ue.sources.storage import Stream

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

# The same in files of other names: an album, its comments, its titles.
TAKEOUT_NAMES: Final = frozenset(("shared_album_comments.json", "user-generated-memory-titles.json", "print-subscriptions.json"))
PLACE_WORDS = re.compile(
    rb'"(geoData|geoDataExif|geoInfo|latitude|latitudeE7|locationEnrichment|contentOwnerName|photoTakenTime)"\s*:'
    rb'|"people"\s*:\s*\[\s*\{\s*"name"'
    rb"|\b(?i:gps[ _]?)(?:[Ll]atitude|[Ll]ongitude|[Pp]osition|[Cc]oordinates)\b"
    rb'|"(?:lat|lng|lon|longitude)"\s*:\s*"?-?\d'
    rb"|<(?:trkpt|wpt)\b[^>]{0,80}\blat="
)
# GeoJSON: tracks and places of map programs. A list of positions may be longer than what is searched at a time, so that it tells by itself.
PLACE_SHAPES = re.compile(
    rb'"type"\s*:\s*"(?:Multi)?(?:Point|LineString|Polygon)"\s*,\s*"coordinates"\s*:'
    rb'|"coordinates"\s*:\s*\[\s*\[[\[\s]*-?\d'
    rb'|"coordinates"\s*:\s*[\[\s]*-?\d[^{}"]{0,200}[\]\s]*,\s*"type"\s*:\s*"(?:Multi)?(?:Point|LineString|Polygon)"'
)
# A pair of numbers in JSON whose name says what it is: "gps": [48.137154, 11.576124].
_PLACE = rb'"(?i:(?:gps|geo)[a-z_]*|[a-z_]+_gps|location|coordinates?|coords?|place|lat_?lo?ng?)"'
_DECIMAL = rb'\s*"?-?(?:\d{1,2}|1[0-7]\d)\.\d{4,}"?\s*'
PLACE_PAIRS = re.compile(
    _PLACE + rb"\s*:\s*\[" + _DECIMAL + rb"," + _DECIMAL + rb'(?:,\s*"?-?\d{1,4}(?:\.\d+)?"?\s*)?\]'
)  # a height may follow
# Degrees and minutes with a direction: 48 deg 8' 13.50" N, and N 48° 8′.
_DIRECTION, _DEGREES = rb"\b[NSEWO]\b", rb"\d{1,3}\s?(?:deg|\xc2?\xb0|\xc2?\xba)"
_MINUTES = rb"\s{0,2}\d{1,2}(?:[.,]\d+)?\s?(?:'|\xe2\x80[\xb2\x99])"
_SECONDS = rb"(?:\s{0,2}\d{1,2}(?:[.,]\d+)?\s?(?:\"|''|\xe2\x80[\xb3\x9d]))?"
PLACE_DEGREES = re.compile(
    _DIRECTION + rb"\s{0,2}" + _DEGREES + _MINUTES + rb"|" + _DEGREES + _MINUTES + _SECONDS + rb"\s{0,2}" + _DIRECTION
)
# Degrees with decimals as a line, a quoted value or a cell of their own: 48.137154, 11.576124.
PLACE_NUMBERS = re.compile(rb'(?:^|["\t;])[ (]*[-+]?\d{1,2}\.\d{4,}[ \t]*,[ \t]*[-+]?\d{1,3}\.\d{4,}[ )]*(?:$|["\t;\r])', re.MULTILINE)
PLACE_SIGNS: Final = (PLACE_WORDS, PLACE_SHAPES, PLACE_PAIRS, PLACE_DEGREES, PLACE_NUMBERS)
PLACE_COLUMNS: Final = frozenset((b"latitude", b"longitude", b"lat", b"lon", b"lng", b"gps"))  # as words of a column's name
# A picture in letters (base64), as annotation tools and web pages hold it: the first letters of PNG, JPEG, WebP and GIF.
PICTURE_WORDS = re.compile(rb"(?:iVBORw0KGgo|\\?/9j\\?/|UklGR|R0lGOD)[A-Za-z0-9+/\\]{64}|data:image/[a-z.+-]+;base64,")
MOST_WORDS = 2**20  # bytes that are searched at a time
LONGEST_WORDS = 256  # bytes of a piece that are searched again with the next
BYTES = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)  # what a column of pictures may be
PICTURE_MARKS = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"WEBPVP8")
TEXT_MARKS = (b"\xff\xfe", b"\xfe\xff")  # of text in two bytes a letter, where a zero is no sign of binary data

PRIVATE = ".ray-ue"  # ends the name of every private work folder
HIDDEN, UNKNOWN, PLACES = "hidden or of a system", "of no known use beside images", "records of places or people"
DISGUISED, TABLES = "binary files named as texts", "tables that hold pictures or other binary data"
TEXTS = "texts that hold pictures"
KINDS: Final = {
    "archives": ".zip .7z .rar .gz .tgz .bz2 .xz .zst .tar .tbz2 .txz .iso .dmg",
    "video and sound": ".mp4 .mov .avi .mkv .webm .m4v .3gp .mts .mpg .mpeg .wmv .mp3 .wav .flac .m4a .ogg .aac",
    "databases": ".db .sqlite .sqlite3 .mdb .lrcat",
    "arrays and weights": ".npy .npz .pt .pth .safetensors .pkl .h5 .hdf5 .mat .parquet .arrow .ckpt .onnx",
    "documents that may hold pictures": ".svg .pdf .html .htm .docx .pptx .xlsx .odt .ipynb .ai",
}
KIND_OF_SUFFIX: Final = {suffix: kind for kind, suffixes in KINDS.items() for suffix in suffixes.split()}


def is_private(name: str) -> bool:
    """Whether a file lies in the private work folder of a copy: it would undo a protection."""
    return any(folder.endswith(PRIVATE) for folder in name.split("/")[:-1])


def is_hidden(name: str) -> bool:
    """Whether a file, or a folder above it, is hidden or belongs to a system or a program: neither an image nor a class."""
    *folders, base = name.split("/")
    return (
        is_private(name)
        or any(part.startswith(".") for part in (*folders, base))
        or any(folder.lower() in TOOL_FOLDERS for folder in folders)
        or base.lower() in TOOL_FILES
    )


def is_carried(name: str, patterns: Sequence[str]) -> bool:
    """Whether the user asked for this file: a pattern fits its path or its last part. What is private is never carried."""
    return not is_private(name) and any(
        fnmatchcase(name, pattern) or fnmatchcase(posixpath.basename(name), pattern) for pattern in patterns
    )


def why_left_out(name: str) -> str:
    """Why a file that is neither image nor shard does not travel; empty for a known sidecar."""
    base, suffix = posixpath.basename(name).lower(), suffix_of(name).lower()
    if TAKEOUT.search(base) or base in TAKEOUT_NAMES:
        return PLACES
    if base in NAMES or suffix in SIDECARS:
        return ""
    return KIND_OF_SUFFIX.get(suffix, UNKNOWN)


def why_head_left_out(name: str, head: bytes) -> str:
    """Why a known sidecar does not travel, by its first bytes: what is called a text may hold a picture; empty if it is one."""
    if suffix_of(name).lower() == ".parquet":
        return ""
    is_text = head.startswith(TEXT_MARKS) or not (b"\0" in head or looks_like_image(head) or head.startswith(b"PK\x03\x04"))
    return "" if is_text else DISGUISED


def why_content_left_out(name: str, file: Stream) -> str:
    """Why a known sidecar does not travel, by its content: places and people, or pictures; empty if it does."""
    suffix = suffix_of(name).lower()
    if suffix != ".parquet":
        return _why_words_left_out(file, is_table=suffix in (".csv", ".tsv"))
    try:
        kinds = list(_leaves(pq.read_schema(file)))  # from the end of the file, however large it is
    except pa.ArrowException:  # no reader can open it, but its bytes may still be those of pictures
        file.seek(0)
        data = file.read(MOST_WORDS)
        return DISGUISED if any(mark in data for mark in PICTURE_MARKS) else ""
    return TABLES if any(is_bytes(kind) for is_bytes in BYTES for kind in kinds) else ""


def _why_words_left_out(file: Stream, *, is_table: bool) -> str:
    """Why a text does not travel, by its words, wherever they are; it is read piece by piece."""
    end, wide = b"", None
    while piece := file.read(MOST_WORDS):
        if not end and piece.startswith(TEXT_MARKS):
            wide = codecs.getincrementaldecoder("utf-16")(errors="replace")
        piece = wide.decode(piece).encode(errors="replace") if wide else piece
        if PICTURE_WORDS.search(end + piece):
            return TEXTS
        if any(sought.search(end + piece) for sought in PLACE_SIGNS) or (is_table and not end and _names_places(piece)):
            return PLACES
        end = piece[-LONGEST_WORDS:]
    return ""


def _names_places(table: bytes) -> bool:
    """Whether the first line of a table has a column of places."""
    return not PLACE_COLUMNS.isdisjoint(re.split(rb"[^a-z]+", table.split(b"\n", 1)[0].lower()))


def _leaves(schema: Iterable[pa.Field]) -> Iterator[pa.DataType]:
    """The types of all columns, also of those inside others."""
    for column in schema:
        kind = column.type
        parts = [kind.field(number) for number in range(kind.num_fields)]
        yield from _leaves(parts) if parts else (kind,)
