"""Poisons: exact where nothing is scaled, centred where something is, inside their bound, and the same from a file as from memory."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch
import torch.nn.functional as F

from ray_ue.images.quality import deviation
from ray_ue.loop import Workers
from ray_ue.perturbations import (
    Additive,
    Filter,
    Pixel,
    Poison,
    Streamed,
    Waves,
    filter,
    fitting,
    open_poison_file,
    reflected_positions,
    waves,
    write_bank,
)
from ray_ue.perturbations.budget import Budget
from ray_ue.perturbations.delta_table import DeltaTable
from ray_ue.storage.artifacts import Folder
from ray_ue.stripes import stripes

BUDGET = Budget(levels=16)
BANK = np.random.default_rng(0).integers(-16, 17, (3, 3, 32, 32), dtype=np.int8)
POISON = Additive(bank=BANK, budget=BUDGET)
KERNELS = np.random.default_rng(1).uniform(0, 0.3, (3, 3, 3)).astype(np.float32)
WAVES = Waves(
    cycles=np.random.default_rng(2).uniform(-8, 8, (3, 2, 2)).astype(np.float32),
    colours=np.random.default_rng(3).uniform(-1, 1, (3, 2, 3)).astype(np.float32),
    phases=np.zeros((3, 2), np.float32),
    gain=1.5,
    salt=7,
    budget=BUDGET,
)
POISONS: dict[str, Poison] = {
    "additive": POISON,
    "filter": Filter(kernels=KERNELS, side=32),
    "waves": WAVES,
    "bent waves": replace(WAVES, bend=0.045),
    "pixel": Pixel(places=np.array([[0, 0], [31, 31], [4, 9]]), colours=np.array([[0, 0, 0], [255, 0, 255], [1, 2, 3]], np.uint8), side=32),
}
SHAPES = [(32, 32), (45, 70), (101, 8), (7, 140), (1, 20), (64, 64)]


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(1).choice(np.array([0, 3, 128, 252, 255], np.uint8), (height, width, 3))


@pytest.mark.parametrize("kind", POISONS)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_poison_changes_any_image_within_its_bound_and_leaves_the_original(kind: str, shape: tuple[int, int]) -> None:
    poison, clean = POISONS[kind], picture(*shape)
    before = clean.copy()
    published = poison.apply(clean, 2)
    assert published.dtype == np.uint8
    assert 0 < deviation(before, published) <= poison.most
    assert (clean == before).all()


@pytest.mark.parametrize("kind", POISONS)
def test_a_poison_from_a_file_is_the_poison_that_was_saved(kind: str, tmp_path: Path) -> None:
    poison, path = POISONS[kind], tmp_path / "bank.safetensors"
    poison.save(path)
    back = open_poison_file(path)
    assert (type(back), back.slots, back.most) == (type(poison), poison.slots, poison.most)
    for slot in range(poison.slots):
        for shape in SHAPES:
            assert (back.apply(picture(*shape), slot) == poison.apply(picture(*shape), slot)).all()
    back.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("kind", POISONS)
@pytest.mark.parametrize("slot", [-1, 3])
def test_a_slot_that_is_not_there_is_refused(kind: str, slot: int) -> None:
    with pytest.raises(ValueError, match=f"no slot {slot}: the poison has 3"):
        POISONS[kind].apply(picture(4, 4), slot)


def test_the_bank_entry_itself_at_its_own_size() -> None:
    assert (POISON.delta(1, height=32, width=32) == BANK[1].transpose(1, 2, 0)).all()


@pytest.mark.parametrize(("height", "width"), [(32, 77), (200, 32), (32, 33), (33, 32), (7, 140), (101, 8), (64, 64), (1, 20)])
def test_the_centre_of_any_shape_is_the_scaled_square(height: int, width: int) -> None:
    delta, side = POISON.delta(0, height=height, width=width), min(height, width)
    top, left = round((height - side) / 2), round((width - side) / 2)
    assert delta.shape == (height, width, 3)
    assert delta.dtype == np.int8
    assert (delta[top : top + side, left : left + side] == POISON.delta(0, height=side, width=side)).all()


def test_the_longer_side_is_a_mirror_on_both_ends() -> None:
    assert reflected_positions(8, 4).tolist() == [1, 0, 0, 1, 2, 3, 3, 2]
    assert reflected_positions(10, 2).tolist() == [0, 1, 1, 0, 0, 1, 1, 0, 0, 1]
    wide = POISON.delta(2, height=32, width=96)
    assert (wide[:, :32] == wide[:, 32:64][:, ::-1]).all()
    assert (wide[:, 64:] == wide[:, 32:64][:, ::-1]).all()


@pytest.mark.parametrize("side", [9, 31, 50, 200])
def test_scaling_stays_in_budget_and_keeps_the_pattern(side: int) -> None:
    ramp = np.tile(np.linspace(-16, 16, 32).round().astype(np.int8), (1, 3, 32, 1))
    delta = Additive(bank=ramp, budget=BUDGET).delta(0, height=side, width=side)
    assert np.abs(delta).max() <= 16
    assert (np.diff(delta[side // 2, :, 0]) >= 0).all()
    assert abs(int(delta[0, 0, 0]) + 16) <= 3


def test_what_is_added_is_the_delta_wherever_the_range_has_room() -> None:
    pixels = picture(45, 70)
    published = POISON.apply(pixels, 2)
    inside = (pixels > 16) & (pixels < 239)
    assert ((published.astype(int) - pixels)[inside] == POISON.delta(2, height=45, width=70)[inside]).all()


def test_the_cache_never_changes_an_answer_and_never_grows_beyond_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "KEPT", 200_000)
    poison = Additive(bank=BANK, budget=BUDGET)
    first = poison.delta(0, height=50, width=60).copy()
    for slot in range(3):
        for side in range(30, 70):
            poison.delta(slot, height=side, width=side)
            assert poison._squares.bytes == sum(entry.wide.nbytes for entry in poison._squares.entries.values()) <= 200_000
    assert (0, 32) not in poison._squares.entries, "an entry at its own size is only read"
    assert (poison.delta(0, height=50, width=60) == first).all()
    poison.delta(0, height=400, width=400)
    assert (0, 400) not in poison._squares.entries, "an entry that would take too much of it is not kept"


@pytest.mark.parametrize(("height", "width"), [(400, 700), (700, 400), (500, 500)])
@pytest.mark.parametrize("kind", POISONS)
def test_a_large_picture_is_changed_in_parts_as_it_is_at_once(kind: str, height: int, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = POISONS[kind].apply(picture(height, width), 1, key="a")
    whole = partial(stripes, pixels=2**30)
    for module in (fitting, waves, filter):
        monkeypatch.setattr(module, "stripes", lambda length, across, pixels=0: whole(length, across))
    assert (parts == POISONS[kind].apply(picture(height, width), 1, key="a")).all()


@pytest.mark.parametrize("side", [20, 333, 900])
def test_columns_scaled_by_themselves_are_those_of_the_whole(side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "KEPT", 0)
    whole = F.interpolate(torch.from_numpy(BANK[:1].astype(np.float32)), (side, side), mode="bilinear", antialias=True)[0].round().numpy()
    assert (Additive(bank=BANK, budget=BUDGET).delta(0, height=side, width=side) == whole.transpose(1, 2, 0)).all()


def test_a_saved_bank_is_what_safetensors_writes_and_reads(tmp_path: Path) -> None:
    POISON.save(tmp_path / "bank")
    assert (tmp_path / "bank").read_bytes() == safetensors.numpy.save({"bank": BANK}, metadata={"poison": "additive 16"})
    assert (safetensors.numpy.load_file(tmp_path / "bank")["bank"] == BANK).all()


def test_a_bank_in_a_file_is_mapped(tmp_path: Path) -> None:
    POISON.save(tmp_path / "bank")
    back = open_poison_file(tmp_path / "bank")
    assert isinstance(back, Additive)
    assert isinstance(back.bank, np.memmap)


def test_a_streamed_bank_has_the_bytes_of_a_whole_one(tmp_path: Path) -> None:
    POISON.save(tmp_path / "whole")
    write_bank(tmp_path / "streamed", iter([BANK[:2], BANK[2:]]), slots=3, side=32, budget=BUDGET)
    assert (tmp_path / "streamed").read_bytes() == (tmp_path / "whole").read_bytes()


def test_a_table_of_deltas_is_applied_and_saved_as_its_bank(tmp_path: Path) -> None:
    table = DeltaTable(home=Folder.at(str(tmp_path / "deltas")), rows=3, side=32, pools=2, budget=BUDGET)
    table.write(1, np.arange(3), torch.from_numpy(BANK).float() / 255)
    table.close(1, Workers())
    poison = Streamed(deltas=table, turn=1)
    poison.save(tmp_path / "table")
    POISON.save(tmp_path / "bank")
    assert (tmp_path / "table").read_bytes() == (tmp_path / "bank").read_bytes()
    assert (poison.slots, poison.most) == (3, 16)
    assert (poison.apply(picture(45, 70), 1) == POISON.apply(picture(45, 70), 1)).all()
    with pytest.raises(ValueError, match="no slot 3: the poison has 3"):
        poison.apply(picture(4, 4), 3)


def test_a_bank_beyond_its_budget_is_refused_when_it_is_made_written_or_used(tmp_path: Path) -> None:
    message, small = "16 levels, but its budget is 8", Budget(levels=8)
    with pytest.raises(ValueError, match=message):
        Additive(bank=BANK, budget=small)
    with pytest.raises(ValueError, match=message):
        write_bank(tmp_path / "bank", iter([BANK]), slots=3, side=32, budget=small)
    (tmp_path / "bank").write_bytes(safetensors.numpy.save({"bank": BANK}, metadata={"poison": "additive 8"}))
    mapped = open_poison_file(tmp_path / "bank")
    with pytest.raises(ValueError, match=message):
        mapped.apply(picture(32, 32), 0)


@pytest.mark.usefixtures("unchecked")
def test_a_bank_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="int8 with shape"):
        Additive(bank=BANK[:, :2], budget=BUDGET)


@pytest.mark.parametrize(
    ("blocks", "message"),
    [(iter([BANK[:2]]), "2 entries for 3 slots"), (iter([BANK[:, :, :8, :8]]), r"it should be int8 \(3, 32, 32\)")],
)
def test_blocks_that_do_not_make_the_bank_are_refused(blocks: Iterator[np.ndarray], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        write_bank(tmp_path / "bank", blocks, slots=3, side=32, budget=BUDGET)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no safetensors file"),
        (b"\x89PNG\r\n\x1a\n and more", "no safetensors file"),
        (safetensors.numpy.save({"bank": BANK}, metadata={"poison": "magic 3"}), "no kind of poison is called 'magic'; there are additive"),
        (safetensors.numpy.save({"bank": BANK}), "no kind of poison is called ''"),
        (safetensors.numpy.save({"bank": BANK}, metadata={"poison": "additive 16"})[:-1], "its header promises .*; copy it again"),
    ],
)
def test_files_that_are_no_poison_of_ours_are_refused(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "bank").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        open_poison_file(tmp_path / "bank")


def test_a_filter_is_a_convolution_that_makes_the_brightest_value_white() -> None:
    clean = picture(32, 50)
    channels = torch.from_numpy(clean).permute(2, 0, 1)[:, None].float() / 255
    blurred = torch.nn.functional.conv2d(channels, torch.from_numpy(KERNELS[:1])[None], padding=1)
    wanted = (255 * blurred / blurred.max()).round()[:, 0].permute(1, 2, 0).numpy()
    assert np.abs(POISONS["filter"].apply(clean, 0) - wanted).max() <= 1
    assert POISONS["filter"].apply(clean, 0).max() == 255


def test_a_filter_commutes_with_scaling_by_a_whole_number() -> None:
    """A victim who averages 2 x 2 pixels sees what the filter does at the side that it was made for."""
    filter = Filter(kernels=KERNELS, side=16)
    small = np.random.default_rng(2).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    large = filter.apply(small.repeat(2, 0).repeat(2, 1), 1)
    assert (large == filter.apply(small, 1).repeat(2, 0).repeat(2, 1)).all()


def test_a_kernel_of_one_tap_and_a_black_image_change_nothing_else() -> None:
    only = np.zeros((1, 3, 3), np.float32)
    only[0, 1, 1] = 0.7
    clean = picture(20, 20)
    assert (Filter(kernels=only, side=20).apply(clean, 0) == clean).all(), "it is white somewhere already"
    black = np.zeros((9, 9, 3), np.uint8)
    assert (POISONS["filter"].apply(black, 0) == black).all()


def test_one_pixel_at_the_side_that_was_searched_and_its_cell_beyond() -> None:
    pixel, clean = POISONS["pixel"], np.full((32, 32, 3), 77, np.uint8)
    changed = np.argwhere((pixel.apply(clean, 1) != clean).any(2))
    assert changed.tolist() == [[31, 31]]
    assert pixel.apply(clean, 1)[31, 31].tolist() == [255, 0, 255]
    wide = np.full((64, 100, 3), 77, np.uint8)
    changed = np.argwhere((pixel.apply(wide, 2) != wide).any(2))
    assert changed.tolist() == [[8, 36], [8, 37], [9, 36], [9, 37]], "18 + the 18 pixels left of the centred square"
    tiny = np.full((3, 3, 3), 77, np.uint8)
    assert ((pixel.apply(tiny, 1) != tiny).any(2)).sum() == 1


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Filter(kernels=KERNELS[:, :2, :2], side=32), r"odd k, got float32 \(3, 2, 2\)"),
        (lambda: Filter(kernels=-KERNELS, side=32), "entries of 0 and more"),
        (lambda: Filter(kernels=0 * KERNELS, side=32), "one above 0 at least"),
        (lambda: Pixel(places=np.array([[0, 32]]), colours=np.zeros((1, 3), np.uint8), side=32), "places go from 0 to 31, got 0 to 32"),
        (lambda: Pixel(places=np.array([[0, 3]]), colours=np.zeros((2, 3), np.uint8), side=32), "a row and column and a colour of three"),
    ],
)
def test_values_that_mean_nothing_are_refused(make: object, message: str) -> None:
    assert callable(make)
    with pytest.raises(ValueError, match=message):
        make()
