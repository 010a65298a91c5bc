"""Which column of a table holds the images, and how its cells are read and replaced."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa

from ray_ue.sources.features import declared_images
from ray_ue.sources.image_files import kind_of_name, looks_like_image, suffix_of

# Extension types whose cells or parameters are pickles: Ray registers the first and runs its cells when one becomes a Python value.
PICKLED = ("ray.data.arrow_pickled_object", "arrow.py_extension_type")
# Names that decide when several binary columns could hold images and their bytes do not.
IMAGE_NAMES = ("image", "img", "jpg", "jpeg", "png", "webp", "picture", "photo", "image_bytes", "bytes")


@dataclass(frozen=True, kw_only=True)
class Column:
    """Either plain binary, or a struct whose child `bytes` is, as Hugging Face writes it."""

    name: str
    is_struct: bool

    @property
    def leaf(self) -> str:
        """Parquet's name of what holds the bytes."""
        return f"{self.name}.bytes" if self.is_struct else self.name

    def binary(self, batch: pa.RecordBatch) -> pa.Array:
        """The cells of a batch; an image whose enclosing struct is null is null too."""
        array = batch.column(self.name)
        return array.field("bytes") if self.is_struct else array

    def has_image(self, batch: pa.RecordBatch) -> list[bool]:
        """Which cells hold an image."""
        around, inside = batch.column(self.name).is_valid(), self.binary(batch).is_valid()
        return [one and other for one, other in zip(around.to_pylist(), inside.to_pylist(), strict=True)]

    def cells(self, batch: pa.RecordBatch) -> list[bytes]:
        """The images of a batch; a null is empty."""
        return [value.as_py() if used else b"" for value, used in zip(self.binary(batch), self.has_image(batch), strict=True)]

    def replace_images(self, batch: pa.RecordBatch, replies: Sequence[bytes | None], *, extension: str) -> pa.RecordBatch:
        """The rows that have a reply, with it in the place of the image and its extension in the struct's path."""
        kept = pa.array([i for i, reply in enumerate(replies) if reply is not None], pa.int64())
        data = [reply for reply in replies if reply is not None]
        place = batch.schema.get_field_index(self.name)
        columns = [column.take(kept) if i != place else None for i, column in enumerate(batch.columns)]
        columns[place] = self._rebuilt(batch.column(place), kept, data, extension=extension)
        return pa.RecordBatch.from_arrays(columns, schema=batch.schema)

    def _rebuilt(self, array: pa.Array, kept: pa.Array, data: list[bytes], *, extension: str) -> pa.Array:
        if not self.is_struct:
            return pa.array(data, array.type)
        children = []
        for field in array.type:
            if field.name == "bytes":
                children.append(pa.array(data, field.type))
            elif field.name == "path" and pa.types.is_string(field.type):
                old = array.field("path").take(kept).to_pylist()
                children.append(pa.array([renamed(path, extension=extension) if path else path for path in old], field.type))
            else:
                children.append(array.field(field.name).take(kept))
        return pa.StructArray.from_arrays(children, fields=list(array.type))


def renamed(path: str, *, extension: str) -> str:
    """A path with its image extension replaced; another ending belongs to the name."""
    return (path.removesuffix(suffix_of(path)) if kind_of_name(path) == "image" else path) + extension


def _is_binary(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _is_image_struct(kind: pa.DataType) -> bool:
    return pa.types.is_struct(kind) and any(field.name == "bytes" and _is_binary(field.type) for field in kind)


def _hides_binary(kind: pa.DataType) -> bool:
    """Whether a list or map holds binary: it may be several images a row, which nothing here would protect."""
    if pa.types.is_map(kind):
        return _hides_binary(kind.item_type) or _is_binary(kind.item_type)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return _is_binary(kind.value_type) or _hides_binary(kind.value_type)
    return pa.types.is_struct(kind) and any(_is_binary(field.type) or _hides_binary(field.type) for field in kind)


def _holds_pickles(field: pa.Field) -> bool:
    """Whether a column is, or holds somewhere inside, one of PICKLED, whether or not this process knows that type."""
    kind, pickled = field.type, (field.metadata or {}).get(b"ARROW:extension:name", b"").decode("utf-8", "replace")
    if pickled in PICKLED or (isinstance(kind, pa.BaseExtensionType) and kind.extension_name in PICKLED):
        return True
    if isinstance(kind, pa.BaseExtensionType):
        return _holds_pickles(pa.field("", kind.storage_type))
    if pa.types.is_dictionary(kind):
        return _holds_pickles(pa.field("", kind.value_type))
    return any(_holds_pickles(kind.field(i)) for i in range(kind.num_fields))


def refuse_pickles(schema: pa.Schema, *, path: str) -> None:
    """A `ValueError` for columns of pickles: the copy would carry them on, and who reads it with Ray would run them."""
    if wrong := [field.name for field in schema if _holds_pickles(field)]:
        raise ValueError(
            f"{path} holds pickled Python objects in column {', '.join(wrong)}: reading them can run any code that is in them; "
            "write the file without, or with columns of plain values"
        )


def image_column(schema: pa.Schema, *, path: str, first: Callable[[Column], Iterable[bytes]]) -> Column:
    """The one column of images; `first` gives a column's first few cells.

    A `ValueError` if there is none, or more than one that would then be copied unprotected.
    """
    refuse_pickles(schema, path=path)
    candidates = [Column(name=f.name, is_struct=not _is_binary(f.type)) for f in schema if _is_binary(f.type) or _is_image_struct(f.type)]
    nested = [f.name for f in schema if not _is_image_struct(f.type) and _hides_binary(f.type)]
    if nested:
        raise ValueError(f"{path} has binary data inside column {', '.join(nested)}: keep one image a row, as binary or struct with bytes")
    if not candidates:
        raise ValueError(
            f"{path} has no image column; its columns are {', '.join(map(str, schema.names))}, "
            "and images are a binary column or a struct with binary `bytes`"
        )
    if len(candidates) == 1:
        return candidates[0]
    named = declared_images(schema)
    pictures = [column for column in candidates if column.name in named or any(looks_like_image(c[:32]) for c in first(column))]
    likely = pictures or [column for column in candidates if column.name.lower() in IMAGE_NAMES]
    if len(likely) == 1:
        return likely[0]
    names = ", ".join(column.name for column in likely or candidates)
    raise ValueError(f"{path} has several columns that may hold the images: {names}; drop all but one, as only one can be protected")
