"""Image collections: listing, reading and rewriting folders, Parquet, Arrow and WebDataset shards, local or on an object store."""

from ray_ue.sources.arrow import ArrowFiles
from ray_ue.sources.base import ROW_SCHEMA, Change, File, Item, Shard, Source, Written
from ray_ue.sources.folder import ImageFolder
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
    "ImageFolder",
    "Item",
    "ParquetFiles",
    "Shard",
    "Source",
    "WebDataset",
    "Written",
    "open_source",
    "sweep",
]
