"""Perturbations in files: what is written comes back the same, units and layouts are told apart, and what is not clear is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import save_file

from ray_ue.loop import Workers
from ray_ue.perturbations import Additive, Pixel, Streamed
from ray_ue.perturbations.budget import Budget
from ray_ue.perturbations.delta_table import DeltaTable
from ray_ue.perturbations.interchange import digest, open_perturbations, write
from ray_ue.storage.artifacts import Folder

BUDGET = Budget(levels=8)
BANK = np.random.default_rng(0).integers(-8, 9, (12, 3, 6, 6), dtype=np.int8)
POISON = Additive(bank=BANK, budget=BUDGET)


def levels(path: Path, *, key: str = "") -> np.ndarray:
    found = open_perturbations(path, key=key)
    found.check(BUDGET)
    return found.levels(np.arange(len(found)))


@pytest.mark.parametrize("unit", ["levels", "fraction"])
@pytest.mark.parametrize("name", ["d.npy", "d.npz", "d.pt", "d.safetensors", "pictures"])
def test_what_is_written_comes_back(name: str, unit: str, tmp_path: Path) -> None:
    if name == "pictures" and unit == "fraction":
        with pytest.raises(ValueError, match="PNG files hold whole levels"):
            write(POISON, tmp_path / name, unit="fraction")
        return
    write(POISON, tmp_path / name, unit="levels" if unit == "levels" else "fraction")
    assert np.abs(levels(tmp_path / name) - BANK).max() < 1e-4


def test_a_table_is_written_as_its_bank(tmp_path: Path) -> None:
    table = DeltaTable(home=Folder.at(str(tmp_path / "table")), rows=12, side=6, pools=3, budget=BUDGET)
    table.write(1, np.arange(12), torch.from_numpy(BANK).float() / 255)
    table.close(1, Workers())
    write(Streamed(deltas=table, turn=1), tmp_path / "d.npy", unit="levels")
    assert (np.load(tmp_path / "d.npy") == BANK).all()


def test_a_saved_poison_of_ours_can_be_read(tmp_path: Path) -> None:
    POISON.save(tmp_path / "bank.safetensors")
    assert (levels(tmp_path / "bank.safetensors") == BANK).all()


@pytest.mark.parametrize(
    "stored",
    [
        BANK,
        BANK.transpose(0, 2, 3, 1),
        BANK.astype(np.int64),
        (BANK.astype(np.int16) + 128).astype(np.uint8),
        BANK.astype(np.float32),
        BANK.astype(np.float64) / 255,
        (BANK / 255).astype(np.float32).transpose(0, 2, 3, 1),
    ],
    ids=["int8", "int8 last", "int64", "uint8", "whole floats", "fractions", "fractions last"],
)
def test_units_and_layouts_are_told_apart(stored: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "d.npy", stored)
    found = open_perturbations(tmp_path / "d.npy", key="")
    assert (len(found), found.side) == (12, 6)
    assert found.largest == pytest.approx(8, abs=1e-4)
    assert np.abs(levels(tmp_path / "d.npy") - BANK).max() < 1e-4
    assert np.abs(found.levels(np.array([7, 2])) - BANK[[7, 2]]).max() < 1e-4


def test_one_of_several_arrays_is_taken_by_its_key(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", train=BANK, labels=np.arange(12))
    torch.save({"train": torch.from_numpy(BANK), "epoch": 3}, tmp_path / "d.pth")
    save_file({"train": BANK, "test": BANK[:3]}, tmp_path / "d.safetensors")
    assert (levels(tmp_path / "d.npz", key="train") == BANK).all()
    assert (levels(tmp_path / "d.pth") == BANK).all()
    assert (levels(tmp_path / "d.safetensors", key="test") == BANK[:3]).all()
    with pytest.raises(ValueError, match="holds labels, train; name one of them as the key, got ''"):
        levels(tmp_path / "d.npz")
    with pytest.raises(ValueError, match="name one of them as the key, got 'valid'"):
        levels(tmp_path / "d.safetensors", key="valid")


def test_pictures_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number in range(12):
        Image.fromarray((BANK[number].astype(np.int16) + 128).astype(np.uint8).transpose(1, 2, 0).copy()).save(tmp_path / f"{number}.png")
    (tmp_path / "README.txt").write_text("not a picture")
    assert (levels(tmp_path) == BANK).all()


def test_a_digest_is_of_the_content(tmp_path: Path) -> None:
    write(POISON, tmp_path / "a", unit="levels")
    write(POISON, tmp_path / "b", unit="levels")
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    np.save(tmp_path / "a.npy", BANK)
    np.save(tmp_path / "b.npy", -BANK)
    assert digest(tmp_path / "a.npy") != digest(tmp_path / "b.npy")


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        (BANK[0], r"holds int8 \[3, 6, 6\]; it should be \[n, 3, side, side\] or \[n, side, side, 3\]"),
        (BANK[:, :2], r"holds int8 \[12, 2, 6, 6\], which is neither of"),
        (BANK[:, :, :5], r"\[12, 3, 5, 6\], which is neither of"),
        (BANK[:, :, :3, :3], r"\[12, 3, 3, 3\], which could be either of"),
        (BANK.astype(bool), r"holds bool; perturbations are integers \(levels\) or floats"),
        (np.where(BANK > 7, np.nan, 0.5), "holds values that are not finite"),
        (0 * BANK, "changes nothing: all its values are 0"),
        (np.full((2, 3, 6, 6), 128, np.uint8), "changes nothing: all its values are 128"),
        (np.sign(BANK).astype(np.float32), "only -1, 0 and 1, which may be one level or the full range; store levels as int8"),
        (BANK / 3, r"holds float64 up to 2.667, beyond 1 and not whole; floats are in \[-1, 1\], or whole levels of 255"),
    ],
)
def test_what_is_not_clear_is_refused(stored: np.ndarray, message: str, tmp_path: Path) -> None:
    np.save(tmp_path / "d.npy", stored)
    with pytest.raises(ValueError, match=message):
        open_perturbations(tmp_path / "d.npy", key="")


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        (2 * BANK, "reaches 16 levels, but the budget is 8/255; --budget 16/255 would fit"),
        (BANK * np.float32(1.03) / 255, "reaches 8.24 levels, but the budget is 8/255; --budget 9/255 would fit"),
        (np.linspace(0, 1, 12 * 108).reshape(12, 6, 6, 3), "reaches 255 levels and no budget is above 127; are these the perturbed images"),
        (np.arange(256, dtype=np.uint8).repeat(108)[: 12 * 108].reshape(12, 3, 6, 6), "reaches 128 levels and no budget is above 127"),
    ],
)
def test_what_is_beyond_the_budget_is_refused_and_never_clipped(stored: np.ndarray, message: str, tmp_path: Path) -> None:
    np.save(tmp_path / "d.npy", stored)
    with pytest.raises(ValueError, match=message):
        open_perturbations(tmp_path / "d.npy", key="").check(BUDGET)


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"there is no .*nowhere\.npy"):
        open_perturbations(tmp_path / "nowhere.npy", key="")
    with pytest.raises(ValueError, match="holds no PNG files"):
        open_perturbations(tmp_path, key="")
    (tmp_path / "d.mat").write_bytes(b"MATLAB")
    with pytest.raises(ValueError, match=r"no format of perturbations is called '.mat'; there are .npy, .npz"):
        open_perturbations(tmp_path / "d.mat", key="")
    torch.save([torch.zeros(2)], tmp_path / "d.pt")
    with pytest.raises(ValueError, match="holds a list; it should be a tensor, or a dict with one"):
        open_perturbations(tmp_path / "d.pt", key="")
    for number, mode in enumerate(["RGB", "L"]):
        Image.new(mode, (6, 6), 130).save(tmp_path / f"{number}.png")
    with pytest.raises(ValueError, match=r"1.png is L of 6 x 6 pixels; like the first it should be RGB of 6 x 6"):
        open_perturbations(tmp_path, key="")


def test_only_additive_poisons_are_written(tmp_path: Path) -> None:
    pixel = Pixel(places=np.array([[0, 0]]), colours=np.zeros((1, 3), np.uint8), side=6)
    with pytest.raises(ValueError, match="a pixel poison changes every image in another way; only an additive one"):
        write(pixel, tmp_path / "d.npy", unit="levels")
    with pytest.raises(ValueError, match=r"no format of perturbations is called '.mat'"):
        write(POISON, tmp_path / "d.mat", unit="levels")
