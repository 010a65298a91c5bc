"""Which files are images, by name and by their first bytes, whether or not this package can decode them."""

from typing import Literal

EXTENSIONS = {"png": ".png", "webp": ".webp", "jpeg": ".jpg"}
MOVING = ("png",)  # of these: an animation keeps its frames (APNG)
LOSSY = ("jpeg",)  # of these: a reader decodes other pixels than were written

# Names of pictures, whether or not this module can decode them: what it cannot decode must be rejected by name, never copied unprotected.
PICTURES = """
.jpg .jpeg .jpe .jfif .png .apng .webp .bmp .dib .gif .tif .tiff .mpo .heic .heif .hif .avif .jp2 .j2k .jpx .jxl .jxr .psd .psb .tga
.ico .cur .pbm .pgm .ppm .pnm .pfm .exr .hdr .dds .pcx .qoi .ras .sgi .xbm .xpm .eps .dcm .dng .cr2 .cr3 .crw .nef .nrw .arw .sr2 .srf
.raf .orf .rw2 .pef .srw .3fr .iiq .x3f .raw .rwl .erf .mrw .kdc .dcr"""

HEIF_SUFFIXES = frozenset((".heic", ".heif", ".hif"))

# Names that are certainly not pictures: they are not opened to look. SVG is text that a trainer rasterises itself.
OTHERS = """
.txt .json .jsonl .csv .tsv .md .rst .html .htm .xml .yaml .yml .toml .ini .cfg .svg .py .sh .ipynb .cls .cls2 .caption .tags .parquet
.arrow .tar .gz .tgz .zip .7z .rar .bz2 .xz .zst .npy .npz .pt .pth .safetensors .pkl .h5 .hdf5 .mat .mp3 .mp4 .wav .flac .avi .mov .mkv
.webm .pdf .log .lock .sha256 .md5"""

IMAGE_SUFFIXES, OTHER_SUFFIXES = frozenset(PICTURES.split()), frozenset(OTHERS.split())

# First bytes of pictures that this package cannot decode, by the name of their format.
FOREIGN = {
    "JPEG 2000": (b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51"),
    "JPEG XL": (b"\0\0\0\x0cJXL ", b"\xff\x0a"),
    "Photoshop": (b"8BPS\0",),
    "OpenEXR": (b"v/1\x01",),
    "QOI": (b"qoif",),
    "DDS": (b"DDS ",),
    "Radiance": (b"#?RADIANCE",),
    "raw camera": (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"IIU\0"),
}
# The same of formats whose first bytes are too few to tell a file by: they only say what a file with a picture's name is.
SHORT = {
    "Windows icon": (b"\0\0\1\0", b"\0\0\2\0"),
    "portable pixmap": tuple(
        b"P" + kind + space for kind in (b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"F", b"f") for space in (b"\n", b" ", b"\r")
    ),
    "PCX": tuple(bytes((10, version, 1)) for version in range(6)),
    "PostScript": (b"%!PS", b"\xc5\xd0\xd3\xc6"),
    "XPM": (b"/* XPM */",),
    "SGI": (b"\x01\xda",),
    "Sun raster": (b"\x59\xa6\x6a\x95",),
}
TARGA_KINDS, TARGA_DEPTHS = (1, 2, 3, 9, 10, 11), (8, 15, 16, 24, 32)  # third byte of a Targa file, and the seventeenth
# Brands of ISO media files that are pictures. Those that begin with m say no more than that: the compatible brands tell which.
BRANDS: dict[bytes, str] = dict.fromkeys((b"avif", b"avis"), "avif")
BRANDS |= dict.fromkeys((b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"), "heif")


def kind_of_name(name: str) -> Literal["image", "other", "unknown"]:
    """What a file is by its extension; "unknown" means look inside with `looks_like_image`."""
    suffix = suffix_of(name).lower()
    if suffix in IMAGE_SUFFIXES:
        return "image"
    return "other" if suffix in OTHER_SUFFIXES else "unknown"


def suffix_of(name: str) -> str:
    """The last extension with its dot, as written; empty for `photo` and for a hidden file such as `.jpg`."""
    stem, dot, suffix = name.rpartition("/")[2].rpartition(".")
    return dot + suffix if stem else ""


def looks_like_image(head: bytes) -> bool:
    """Whether the first 32 bytes are those of a picture, decodable here or not."""
    return bool(_format(head)) or bool(foreign_format(head))


def foreign_format(head: bytes) -> str:
    """The name of a format that is known and cannot be decoded here, or nothing."""
    if head[4:12] == b"ftypcrx ":
        return "raw camera"
    return next((name for name, starts in FOREIGN.items() if head.startswith(starts)), "")


def named_format(head: bytes) -> str:
    """What a file with a picture's name is, as `foreign_format` says, also where its first bytes are few; or nothing."""
    palette_fits = head[1:2] == b"\1" or not any(head[3:8])
    if len(head) > 17 and head[1] < 2 and head[2] in TARGA_KINDS and head[16] in TARGA_DEPTHS and palette_fits:
        return "Targa"
    return foreign_format(head) or next((name for name, starts in SHORT.items() if head.startswith(starts)), "")


def _format(head: bytes) -> str:
    """The name of the decoder for these bytes, or nothing."""
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    if head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return "tiff"
    if head[4:8] == b"ftyp" and (kind := BRANDS.get(head[8:12], "")):
        return "avif" if b"avif" in head[16:32] else kind
    if head.startswith(b"BM") and head[14:18] in {bytes((n, 0, 0, 0)) for n in (12, 40, 52, 56, 64, 108, 124)}:
        return "bmp"
    return ""
