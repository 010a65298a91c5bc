"""The limit on what compressed data may unpack to."""

# What may be unpacked in any case, in bytes, and how many times its size in the file beyond that.
INFLATED, RATIO = 2**30, 200


def refuse_inflation(what: str, *, stored: int, size: int) -> None:
    """A `ValueError` for data that inflates to far more than any image or its metadata does: it would fill the memory."""
    if size > max(INFLATED, RATIO * stored):
        raise ValueError(
            f"{what} inflates from {stored:,} bytes to {size / 2**30:.1f} GiB, more than images or their metadata do, so it is not read"
        )
