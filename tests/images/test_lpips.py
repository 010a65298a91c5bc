"""LPIPS from a weights file that is on disk already: here a real AlexNet state dict with random weights."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import photo

from ray_ue.images import lpips


def test_without_weights_it_says_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    assert "LPIPS is not measured: put torchvision's alexnet-owt-7be5be79.pth at" in lpips.absent()
    monkeypatch.setattr(lpips, "find_spec", lambda name: None)
    assert "pip install 'ray-ue[lpips]'" in lpips.absent()


def test_it_is_zero_for_equal_images_and_grows_with_the_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("lpips", reason="lpips is not installed")
    from torchvision.models import alexnet

    torch.manual_seed(0)
    kept = {name: value for name, value in alexnet(weights=None).state_dict().items() if name.startswith("features.")}
    (tmp_path / "checkpoints").mkdir()
    torch.save(kept, tmp_path / "checkpoints" / lpips.WEIGHTS)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    assert lpips.absent() == ""
    image = photo(0, height=64, width=64)
    rng = np.random.default_rng(0)
    noisy = [np.clip(image + rng.integers(-levels, levels + 1, image.shape), 0, 255).astype(np.uint8) for levels in (4, 32)]
    same, little, much = lpips.lpips([(image, image), (image, noisy[0]), (image, noisy[1])])
    assert same == 0
    assert 0 < little < much
    assert lpips.lpips([(image, noisy[1])]) == [much]  # the weights of the file, not random ones
