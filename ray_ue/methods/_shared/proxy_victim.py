"""A proxy of the exploiter: how much a small network learns from some perturbed images, tested on others that are clean."""

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import nn

from ray_ue.config.schedules import SCHEDULES
from ray_ue.images.augment import draw_crops, pack_pixels, take_packed
from ray_ue.images.codec import square_view
from ray_ue.loop import seeded
from ray_ue.methods.base import View
from ray_ue.models.classifiers import classifier
from ray_ue.models.normalization import normalise
from ray_ue.perturbations import Poison
from ray_ue.random_streams import STREAMS
from ray_ue.types import PixelBlock

SIDE, MOST = 64, 1500  # pixels at which the network sees the images; images
HELD_OUT = 4  # one of so many images is held out
TRAINING = SCHEDULES["fast"]


def proxy_passes(rows: int) -> int:
    """Image passes of one proxy victim over a sample of so many rows."""
    return TRAINING.epochs * min(rows, MOST) * (HELD_OUT - 1) // HELD_OUT


@dataclass(frozen=True, kw_only=True, eq=False)
class ProxyVictim:
    """Images `n side side 3` with labels and slots, of which the rows `held_out` are tested on as they are."""

    pixels: PixelBlock
    labels: Int[np.ndarray, " n"]
    slots: Int[np.ndarray, " n"]
    held_out: np.ndarray
    seed: int
    device: torch.device

    @classmethod
    def of(cls, view: View, *, seed: int) -> "ProxyVictim":
        """Of some rows of a view; the labels are those of its first further grouping, or the groups themselves."""
        rng = np.random.default_rng([seed, STREAMS["texture/proxy"]])
        rows = np.sort(rng.permutation(len(view.pixels))[:MOST])
        labels = view.also[0] if view.also else view.group_of
        side = min(SIDE, view.pixels.shape[1])
        return cls(
            pixels=np.stack([square_view(np.asarray(view.pixels[row]), size=side) for row in rows]),
            labels=labels[rows].astype(np.int64),
            slots=view.slot_of[rows],
            held_out=rng.permutation(len(rows)) % HELD_OUT == 0,
            seed=seed,
            device=view.surrogate.device,
        )

    @property
    def passes(self) -> int:
        return TRAINING.epochs * int((~self.held_out).sum())

    def learnt(self, poison: Poison) -> float:
        """The share of held-out clean images that a network names rightly after it was trained on the perturbed others."""
        rows = np.flatnonzero(~self.held_out)
        perturbed = np.stack([poison.apply(self.pixels[row], int(self.slots[row]), key=str(row)) for row in rows])
        net = self._train(perturbed, self.labels[rows])
        with torch.no_grad():
            tested = torch.from_numpy(self.pixels[self.held_out]).to(self.device).permute(0, 3, 1, 2).float().div(255)
            named = torch.cat([net(normalise(images)).argmax(1) for images in tested.split(TRAINING.batch)]).cpu().numpy()
        return float((named == self.labels[self.held_out]).mean())

    def _train(self, pixels: PixelBlock, labels: Int[np.ndarray, " m"]) -> nn.Module:
        side, classes = pixels.shape[1], int(self.labels.max()) + 1
        net = classifier("fast", side=side, classes=classes, sample=pixels, seed=self.seed).to(self.device)
        packed, targets = pack_pixels(pixels, device=self.device), torch.from_numpy(labels).to(self.device)
        optimiser = torch.optim.SGD(
            net.parameters(), lr=TRAINING.lr, momentum=TRAINING.momentum, nesterov=TRAINING.nesterov, weight_decay=TRAINING.decay
        )
        rng = np.random.default_rng([self.seed, STREAMS["texture/proxy"], 1])
        batches = math.ceil(len(pixels) / TRAINING.batch)
        net.train()
        for step in range(TRAINING.epochs * batches):
            if step % batches == 0:
                order = np.array_split(rng.permutation(len(pixels)), batches)
            for group in optimiser.param_groups:
                group["lr"] = TRAINING.rate(step, steps=TRAINING.epochs * batches)
            rows = order[step % batches]
            crops = draw_crops(len(rows), canvas=side, size=side, flips=0.5, rng=rng)
            chosen = torch.from_numpy(rows).to(self.device)
            with seeded(self.seed, 23, step, device=self.device):
                logits = net(normalise(take_packed(packed, chosen, crops)))
            loss = F.cross_entropy(logits, targets[chosen], label_smoothing=TRAINING.smoothing)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        return net.eval()
