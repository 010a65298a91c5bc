"""Images that cannot be used: when a run stops, what it names, and what it advises."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from ray_ue.images.broken import NO_HEIF, remedy
from ray_ue.stages.protect.rejected import LIST, gather_rejected, refuse_too_many, write_rejected
from ray_ue.storage.artifacts import Folder


def with_rejected(tmp_path: Path, reasons: list[str]) -> Folder:
    folder = Folder(str(tmp_path))
    keys = pa.array([f"cats/{number}.jpg" for number in range(len(reasons))])
    write_rejected(folder, "chunk-0", ids=np.arange(len(reasons)), keys=keys, reasons=reasons)
    return folder


@pytest.mark.parametrize(("rejected", "rows", "most", "stops"), [(1, 60, 0.01, False), (3, 60, 0.01, False), (4, 60, 0.01, True)])
def test_a_few_images_never_stop_a_run(rejected: int, rows: int, most: float, stops: bool, tmp_path: Path) -> None:
    folder = with_rejected(tmp_path, ["zero bytes"] * rejected)
    if not stops:
        refuse_too_many(rejected, rows, most, folder)
        return
    with pytest.raises(ValueError, match=r"4 of 60 images cannot be used, more than --max-rejected 0\.01 allows"):
        refuse_too_many(rejected, rows, most, folder)


@pytest.mark.parametrize(("rejected", "rows", "most"), [(1, 60, 0.0), (2, 4, 0.01), (3, 3, 1.0)])
def test_none_may_be_allowed_and_half_or_all_of_a_collection_is_too_much(rejected: int, rows: int, most: float, tmp_path: Path) -> None:
    told = f"{rejected} of {rows} images cannot be used" if rejected < rows else f"none of {rows} images can be used"
    with pytest.raises(ValueError, match=told):
        refuse_too_many(rejected, rows, most, with_rejected(tmp_path, ["zero bytes"] * rejected))


def test_the_message_names_three_images_with_reasons_and_what_to_do_and_where_all_are(tmp_path: Path) -> None:
    reasons = ["zero bytes", "JPEG XL, a format that is not supported", "truncated: 3 bytes left", "not an image"]
    with pytest.raises(ValueError, match="cannot be used") as caught:
        refuse_too_many(4, 60, 0.01, with_rejected(tmp_path, reasons))
    for phrase in (
        "cats/0.jpg: zero bytes; cats/1.jpg: JPEG XL",
        "cats/2.jpg: truncated",
        "; …",
        "djxl",
        "again",
        LIST,
        "--max-rejected 0.08",
    ):
        assert phrase in str(caught.value)
    assert (tmp_path / LIST).read_text().splitlines()[3] == "cats/3.jpg\tnot an image"


def test_the_list_is_text_and_a_table(tmp_path: Path) -> None:
    folder = with_rejected(tmp_path, ["zero bytes"])
    assert gather_rejected(folder) == {"rejected": 1}
    assert folder.read_table("rejected.parquet").to_pylist() == [{"id": 0, "key": "cats/0.jpg", "reason": "zero bytes"}]
    assert folder.read(LIST) == b"cats/0.jpg\tzero bytes\n"


@pytest.mark.parametrize(
    ("reason", "advice"),
    [(NO_HEIF, r"ray-ue\[heic\]"), ("a raw camera file", "develop"), ("9x4 is under 8 pixels a side", "too small"), ("odd", "no picture")],
)
def test_every_reason_has_a_remedy(reason: str, advice: str) -> None:
    import re

    assert re.search(advice, remedy(reason))
