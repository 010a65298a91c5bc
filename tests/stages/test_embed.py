"""The embedding actor asks for all batches of a chunk before it waits for the first: decoding and the network overlap on a device."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from conftest import image_bytes

from ray_ue.images.codec import Limits
from ray_ue.stages.protect.embed import Embedder, Encoder
from ray_ue.storage.artifacts import Folder

SURROGATE = "timm:tf_efficientnet_lite0"


class Asked:
    """Vectors that a device may still be working on: to read them is what waits."""

    def __init__(self, made: torch.Tensor, told: list[str]) -> None:
        self.made, self.told = made, told

    def cpu(self) -> torch.Tensor:
        self.told.append("wait")
        return self.made


def test_batches_are_asked_for_while_none_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    begin = Encoder.begin

    def asked(self: Encoder, views: np.ndarray) -> Any:
        told.append(f"ask {len(views)}")
        return Asked(begin(self, views), told)

    monkeypatch.setattr(Encoder, "begin", asked)
    files = [image_bytes(number) for number in range(7)]
    files[2] = b"no image"
    chunk = pa.table(
        {
            "number": [0],
            "first_id": [0],
            "key": pa.array([[f"{number}.png" for number in range(7)]]),
            "label": pa.array([[0] * 7], pa.list_(pa.int64())),
            "data": pa.array([files], pa.list_(pa.binary())),
        }
    )
    actor = Embedder(
        limits=Limits(), folder=Folder.at(str(tmp_path)), decoders=2, surrogate=SURROGATE, weights="", image_size=32, threads=1
    )
    actor.batch = 2
    done = actor(chunk)
    assert told == ["ask 2", "ask 2", "ask 2", "wait", "wait", "wait"]
    assert (done["rows"][0].as_py(), done["rejected"][0].as_py()) == (7, 1)
