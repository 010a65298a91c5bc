"""Universal perturbations guessed from the protected images alone: what an exploiter finds who knows that few patterns are shared by many.

It knows no clean image, no label and no cluster. The images' high-pass residuals are clustered, and what the images of a cluster have in
common is taken for its perturbation: natural detail averages out, a shared pattern does not.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int

from ray_ue.groups import KMeans
from ray_ue.purify import chunks, smooth
from ray_ue.training import Block
from ray_ue.types import Rng

PLACES = 3072  # pixel values that are compared: all of a 32-pixel image, a random choice from a larger one
FITTED = 10_000  # images that the k-means sees
ROUNDS = 10  # times the images are assigned anew, by correlation
EDGE = 32  # levels: a larger residual is an edge of the picture, and counts no more than this


@dataclass(frozen=True, kw_only=True, eq=False)
class Patterns:
    """`slot_of` says which of the `deltas` (in levels) each image is thought to carry."""

    slot_of: Int[np.ndarray, " n"]
    deltas: Float32[np.ndarray, "S h w 3"]


def estimate(pixels: Block, *, k: int, rng: Rng) -> Patterns:
    """Guess `k` patterns; more than there are does little harm, fewer mixes them up."""
    detail = _detail(pixels, rng=rng)
    chosen = np.sort(rng.permutation(len(detail))[:FITTED])
    centers = KMeans(k=k, restarts=3, iterations=20, seed=int(rng.integers(2**30))).fit(detail[chosen])
    for _ in range(ROUNDS):
        slots = (detail @ _unit(centers).T).argmax(1)
        centers = np.stack([detail[slots == slot].mean(0) if (slots == slot).any() else centers[slot] for slot in range(k)])
    return Patterns(slot_of=slots, deltas=_shared(pixels, slots, k=k))


def subtract(pixels: Block, patterns: Patterns) -> Block:
    """Every image without the pattern it is thought to carry, rounded and clipped."""
    out = np.empty(pixels.shape, np.uint8)
    for rows in chunks(pixels):
        out[rows] = np.clip(np.rint(pixels[rows] - patterns.deltas[patterns.slot_of[rows]]), 0, 255)
    return out


def _detail(pixels: Block, *, rng: Rng) -> Float32[np.ndarray, "n p"]:
    """Each image's residual at some places, edges held down, at length 1."""
    width = int(np.prod(pixels.shape[1:]))
    places = np.sort(rng.permutation(width)[:PLACES])
    sigma = max(1.0, pixels.shape[1] / 32)
    parts = []
    for rows in chunks(pixels):
        images = pixels[rows].astype(np.float32)
        residual = (images - smooth(images, sigma)).reshape(len(images), width)[:, places]
        parts.append(_unit(residual.clip(-EDGE, EDGE)))
    return np.concatenate(parts)


def _shared(pixels: Block, slots: Int[np.ndarray, " n"], *, k: int) -> Float32[np.ndarray, "S h w 3"]:
    """The mean image of each slot less its own smooth part: the mean residual, as a blur is linear."""
    sums = np.zeros((k, *pixels.shape[1:]))
    for rows in chunks(pixels):
        for slot in np.unique(slots[rows]):
            sums[slot] += pixels[rows][slots[rows] == slot].sum(0, dtype=np.float64)
    means = (sums / np.maximum(np.bincount(slots, minlength=k), 1)[:, None, None, None]).astype(np.float32)
    return means - smooth(means, pixels.shape[1] * 3 / 32)  # measured on CIFAR-10: 2 of 32 loses a smooth pattern, 6 takes the picture too


def _unit(vectors: Float32[np.ndarray, "n p"]) -> Float32[np.ndarray, "n p"]:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)
