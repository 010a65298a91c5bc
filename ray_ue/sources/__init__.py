"""What a source is: list, read, and write back in the same layout, local or on an object store; knows no pixels and no Ray."""

from ray_ue.sources.arrow import ArrowFiles
from ray_ue.sources.base import ROW_SCHEMA, Change, File, Item, Shard, Source, Written
from ray_ue.sources.folder import Folder
from ray_ue.sources.opening import FORMATS, open_source
from ray_ue.sources.parquet import ParquetFiles
from ray_ue.sources.target import sweep
from ray_ue.sources.webdataset import WebDataset

__all__ = [
    "FORMATS",
    "ROW_SCHEMA",
    "ArrowFiles",
    "Change",
    "File",
    "Folder",
    "Item",
    "ParquetFiles",
    "Shard",
    "Source",
    "WebDataset",
    "Written",
    "open_source",
    "sweep",
]
