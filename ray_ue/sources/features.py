"""What Hugging Face's `datasets` says of a table's columns in its schema; believed only where it fits."""

import json

import pyarrow as pa

HOME = b"huggingface"  # the key of the schema's metadata
FINGERPRINT = "fingerprint"  # of the rows as they were before: it must not name others


def declared_features(schema: pa.Schema) -> dict[str, dict]:
    """The features by column, each as plain JSON; empty where none are declared or they are malformed."""
    try:
        features = json.loads((schema.metadata or {}).get(HOME, b"{}"))["info"]["features"]
        return {str(name): feature for name, feature in features.items() if isinstance(feature, dict)}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def class_names(schema: pa.Schema) -> list[str]:
    """Names of the labels 0, 1, … of the column `label`."""
    names = declared_features(schema).get("label", {}).get("names")
    return [str(name) for name in names] if isinstance(names, list) else []


def declared_images(schema: pa.Schema) -> set[str]:
    """The columns that the features declare to be images."""
    return {name for name, feature in declared_features(schema).items() if feature.get("_type") == "Image"}


def has_labels(schema: pa.Schema) -> bool:
    """Whether there is an integer column `label`."""
    return "label" in schema.names and pa.types.is_integer(schema.field("label").type)


def anonymous(schema: pa.Schema) -> pa.Schema:
    """The schema without the fingerprint of its rows: caches that go by it would take a copy for the original."""
    metadata = dict(schema.metadata or {})
    try:
        about = json.loads(metadata.get(HOME, b"{}"))
        if FINGERPRINT not in about:
            return schema
        del about[FINGERPRINT]
    except (ValueError, TypeError, RecursionError):
        return schema
    return schema.with_metadata({**metadata, HOME: json.dumps(about).encode()})
