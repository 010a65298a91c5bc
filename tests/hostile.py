"""Files that want to do harm. The only harm is an empty folder: a payload that is ever unpickled leaves a marker."""

import io
import json
import os
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from ray_ue.sources.columns import PICKLED

NAME, ABOUT = b"ARROW:extension:name", b"ARROW:extension:metadata"


@dataclass(frozen=True)
class Bomb:
    """Unpickling it creates the folder `marker`."""

    marker: Path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.marker),)

    def pickled(self) -> bytes:
        """As Ray's columns hold it; it does not run older ones, which name their function in another way."""
        return pickle.dumps(self, protocol=4)

    def old(self) -> bytes:
        """As torch writes it."""
        return pickle.dumps(self, protocol=2)


def pickle_field(name: str) -> pa.Field:
    """What a Parquet file says of a column of Ray's pickled objects, whether or not Ray is imported."""
    return pa.field(name, pa.large_binary(), metadata={NAME: PICKLED[0].encode(), ABOUT: b""})


def cells(bomb: Bomb) -> pa.Array:
    return pa.array([bomb.pickled()], pa.large_binary())


def table(image: bytes, field: pa.Field, values: pa.Array) -> pa.Table:
    """One row: a picture, and a column beside it."""
    return pa.Table.from_arrays([pa.array([image]), values], schema=pa.schema([pa.field("image", pa.binary()), field]))


def struct_of(image: bytes, bomb: Bomb, child: str) -> pa.Table:
    """The image struct as Hugging Face writes it, one of whose children is pickled."""
    fields = [pickle_field(name) if name == child else pa.field(name, pa.binary()) for name in ("bytes", "path")]
    found = pa.StructArray.from_arrays([cells(bomb) if name == child else pa.array([image]) for name in ("bytes", "path")], fields=fields)
    return pa.Table.from_arrays([found], schema=pa.schema([pa.field("image", found.type)]))


def nested(image: bytes, bomb: Bomb) -> pa.Table:
    kind = pa.list_(pickle_field("item"))
    return table(image, pa.field("extra", kind), pa.ListArray.from_arrays(pa.array([0, 1], pa.int32()), cells(bomb), type=kind))


PARQUET: dict[str, Callable[[bytes, Bomb], pa.Table]] = {
    "beside the image": lambda image, bomb: table(image, pickle_field("extra"), cells(bomb)),
    "as the label": lambda image, bomb: table(image, pickle_field("label"), cells(bomb)),
    "as the path of the image": lambda image, bomb: struct_of(image, bomb, "path"),
    "as the bytes of the image": lambda image, bomb: struct_of(image, bomb, "bytes"),
    "in a list": nested,
    "in the parameters of a type": lambda image, bomb: table(
        image, pa.field("extra", pa.int64(), metadata={NAME: PICKLED[1].encode(), ABOUT: bomb.pickled()}), pa.array([1])
    ),
}


def npy(shape: str) -> bytes:
    """A numpy header that promises `shape` of int8, and three bytes."""
    head = f"{{'descr': '|i1', 'fortran_order': False, 'shape': {shape}, }}".encode()
    head += b" " * (-(len(head) + 11) % 64) + b"\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(head)) + head + b"abc"


def npz(member: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("delta.npy", member)
    return out.getvalue()


def objects(bomb: Bomb) -> bytes:
    np.save(out := io.BytesIO(), np.array([bomb], object))
    return out.getvalue()


def checkpoint(bomb: Bomb) -> bytes:
    torch.save({"delta": bomb}, out := io.BytesIO())
    return out.getvalue()


def lying_tensors() -> bytes:
    """A safetensors header that promises three gigabytes."""
    head = json.dumps({"delta": {"dtype": "I8", "shape": [10**6, 3, 32, 32], "data_offsets": [0, 3072 * 10**6]}}).encode()
    return struct.pack("<Q", len(head)) + head


ARRAYS: dict[str, Callable[[Bomb], bytes]] = {
    "objects.npy": objects,
    "pickle.npy": Bomb.pickled,
    "promise.npy": lambda bomb: npy("(1000000000, 3, 32, 32)"),
    "negative.npy": lambda bomb: npy("(-1, 3, 32, 32)"),
    "formula.npy": lambda bomb: npy("(1,)*200"),
    "archive.npy": lambda bomb: npz(npy("(1,)")),
    "objects.npz": lambda bomb: npz(objects(bomb)),
    "pickle.npz": Bomb.pickled,
    "promise.npz": lambda bomb: npz(npy("(1000000000000, 3, 32, 32)")),
    "single.npz": lambda bomb: npy("(3,)"),
    "broken.npz": lambda bomb: b"PK\3\4" + b"x" * 50,
    "pickle.pt": Bomb.old,
    "modern.pt": Bomb.pickled,
    "checkpoint.pt": checkpoint,
    "checkpoint.pth": checkpoint,
    "archive.pt": lambda bomb: npz(objects(bomb)),
    "empty.pt": lambda bomb: b"",
    "pickle.safetensors": Bomb.pickled,
    "promise.safetensors": lambda bomb: lying_tensors(),
    "huge.safetensors": lambda bomb: struct.pack("<Q", 2**62) + b"{}",
    "empty.safetensors": lambda bomb: b"",
}


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *, data: bytes, extra: bytes = b"") -> bytes:
    size = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + size + extra + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def zeros(megabytes: int) -> bytes:
    """That many zero bytes, deflated to a thousandth."""
    deflate = zlib.compressobj(9)
    return b"".join(deflate.compress(bytes(2**20)) for _ in range(megabytes)) + deflate.flush()


def webp(side: int) -> bytes:
    """A lossless WebP file that says it is `side` pixels wide and high."""
    body = b"\x2f" + struct.pack("<I", (side - 1) | (side - 1) << 14) + bytes(21)
    return b"RIFF" + struct.pack("<I", 12 + len(body)) + b"WEBPVP8L" + struct.pack("<I", len(body)) + body


def gif(width: int, height: int) -> bytes:
    frame = struct.pack("<HHHH", 0, 0, width, height)
    return b"GIF89a" + struct.pack("<HH", width, height) + b"\0\0\0," + frame + b"\0\x02\x02L\x01\0;"


def bmp(side: int) -> bytes:
    return b"BM" + struct.pack("<IHHI", 100, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, side, side, 1, 24, 0, 0, 0, 0, 0, 0)


def jpeg(side: int) -> bytes:
    parts = bytes([1, 17, 0, 2, 17, 0, 3, 17, 0])
    return b"\xff\xd8\xff\xc0" + struct.pack(">HBHHB", 17, 8, side, side, 3) + parts + b"\xff\xda\0\x0c\3\1\0\2\0\3\0\0\x3f\0"


def tiff(side: int) -> bytes:
    tags = [(256, side), (257, side), (258, 8), (259, 1), (262, 1), (273, 200), (278, side), (279, 100)]
    return (
        b"II*\0" + struct.pack("<IH", 8, len(tags)) + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags) + bytes(404)
    )


BOMBS: dict[str, Callable[[], bytes]] = {
    "png by its header": lambda: png(2**31 - 1, 2**31 - 1, data=b""),
    "png by its data": lambda: png(20_000, 20_000, data=zeros(400)),
    "webp": lambda: webp(12_000),
    "gif": lambda: gif(65_535, 65_535),
    "bmp": lambda: bmp(2**30),
    "jpeg": lambda: jpeg(65_535),
    "tiff": lambda: tiff(2**30),
}


def tar_header(name: str, *, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    """A header with any size, also one that `tarfile` refuses to write."""
    raw = bytearray(tarfile.TarInfo(name).tobuf(tarfile.GNU_FORMAT))
    raw[156:157] = kind
    raw[124:136] = b"\xff" + (size % 2**88).to_bytes(11, "big") if size < 0 else b"%011o\0" % size
    raw[148:156] = b" " * 8
    raw[148:156] = b"%06o\0 " % sum(raw)
    return bytes(raw)


def tar_of(infos: list[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for info, data in infos:
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def member(name: str, *, link: str = "", kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


TARS: dict[str, Callable[[], bytes]] = {
    "a size that goes back to its own header": lambda: tar_header("a.jpg", size=-512) + bytes(1024),
    "a size before the start": lambda: tar_header("a.jpg", size=-4096) + bytes(1024),
    "names of names": lambda: b"".join(
        tar_header("././@LongLink", size=4, kind=tarfile.GNUTYPE_LONGNAME) + b"abc\0" + bytes(508) for _ in range(3000)
    ),
    "a name of a million parts": lambda: tar_of([(member("a/" * 10**6 + "x.jpg"), b"x")]),
    "a link of a million parts": lambda: tar_of([(member("x.jpg", kind=tarfile.SYMTYPE, link="a/" * 10**6), b"")]),
}
