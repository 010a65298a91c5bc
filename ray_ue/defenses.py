"""Defenses: what an exploiter does to learn from protected images all the same. Knows a training set as a value, no net and no loop."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from ray_ue import alters, projection, purify, residuals
from ray_ue.training import Alter, Block, Images, Targets, Training
from ray_ue.types import Rng, pick
from ray_ue.values import Real, Value, Whole, Word

Setting = int | float | str


@dataclass(frozen=True, kw_only=True)
class Defense:
    """`make(training, *settings, rng=rng)` gives back a changed training set; `values` says what the settings may be.

    `owns_clean`: this exploiter has some of the clean images, which most have not.
    """

    make: Callable[..., Training]
    about: str
    values: tuple[Value, ...] = ()
    owns_clean: bool = False

    @property
    def default(self) -> str:
        """The settings of the bare name, as they would be written."""
        return ":".join(f"{value.default:g}" if not isinstance(value, Word) else value.default for value in self.values)

    def read(self, texts: list[str], *, of: str) -> tuple[Setting, ...]:
        """The settings of `name:text:text`, with defaults for those left out."""
        if len(texts) > len(self.values):
            takes = " and ".join(value.about for value in self.values) or "no value"
            raise ValueError(f"{of} takes {takes}, got {':'.join(texts)!r}")
        return tuple(value.read(texts[place], of=of) if place < len(texts) else value.default for place, value in enumerate(self.values))


def parse(spec: str) -> tuple[tuple[Defense, tuple[Setting, ...]], ...]:
    """The parts of `grayscale+at:4:3`, in order; a `ValueError` for whatever no data could make right."""
    parts = []
    for part in spec.split("+"):
        name, *texts = part.strip().split(":")
        defense = pick(DEFENSES, name, what="defense")
        parts.append((defense, defense.read(texts, of=name)))
    return tuple(parts)


def check(spec: str) -> None:
    """Refuse, without any data, what cannot work."""
    parse(spec)


def defend(spec: str, training: Training, *, rng: Rng) -> Training:
    """The training set under every part of `spec`, from left to right; what is given is left as it is."""
    for defense, settings in parse(spec):
        training = defense.make(training, *settings, rng=rng)
    return training


def none(training: Training, *, rng: Rng) -> Training:
    return training


def once(change: Callable[..., Block]) -> Callable[..., Training]:
    """A defense that rewrites all pixels by `change(pixels, *settings)`, before the training."""

    def make(training: Training, *settings: Setting, rng: Rng) -> Training:
        return replace(training, pixels=change(training.pixels, *settings))

    return make


def each(alter: Callable[..., tuple[Images, Targets]]) -> Callable[..., Training]:
    """A defense that changes every batch by `alter(*settings, images, targets, moment)`."""

    def make(training: Training, *settings: Setting, rng: Rng) -> Training:
        return _also(training, partial(alter, *settings))

    return make


def _also(training: Training, alter: Alter) -> Training:
    return replace(training, alters=(*training.alters, alter))


def orthogonal(training: Training, *, rng: Rng) -> Training:
    rows = projection.separator(training.pixels, training.labels, classes=training.classes, rng=rng)
    return replace(training, pixels=projection.project(training.pixels, rows))


def early(training: Training, share: float, *, rng: Rng) -> Training:
    """Some rows leave the training set and come back clean as the hold-out that picks the epoch."""
    if len(training.holdout[1]):
        raise ValueError("early: there is a hold-out already; name early once")
    count, taken = len(training.pixels), max(1, round(share * len(training.pixels)))
    if taken >= count:
        raise ValueError(f"early:{share:g} of {count} images leaves none to train on; take a smaller share")
    shuffled = rng.permutation(count)
    held, kept = np.sort(shuffled[:taken]), np.sort(shuffled[taken:])
    return replace(
        training,
        pixels=training.pixels[kept],
        clean=training.clean[kept],
        labels=training.labels[kept],
        holdout=(training.clean[held], training.labels[held]),
    )


def subtract(training: Training, patterns: int, *, rng: Rng) -> Training:
    return replace(training, pixels=residuals.subtract(training.pixels, _guess(training, patterns, rng=rng)))


def mix(training: Training, patterns: int, *, rng: Rng) -> Training:
    return _also(training, partial(alters.mix, _guess(training, patterns, rng=rng).deltas))


def _guess(training: Training, patterns: int, *, rng: Rng) -> residuals.Patterns:
    if len(training.pixels) < patterns:
        raise ValueError(f"{patterns} patterns cannot be guessed from {len(training.pixels)} images; ask for fewer")
    return residuals.estimate(training.pixels, k=patterns, rng=rng)


PATTERNS = Whole(about="number of patterns", default=20, low=2, high=1000)
ALPHA = Real(about="alpha of the Beta distribution", default=1.0, above=0, high=100)

DEFENSES: dict[str, Defense] = {
    "none": Defense(make=none, about="trains on what was published"),
    "grayscale": Defense(make=once(purify.grayscale), about="grey images, ITU-R 601 (ISS, Liu et al. 2023, arXiv 2301.13838)"),
    "jpeg": Defense(
        make=once(purify.jpeg),
        values=(Whole(about="JPEG quality", default=10, low=1, high=95),),
        about="through a JPEG file of this quality (ISS, arXiv 2301.13838)",
    ),
    "bits": Defense(
        make=once(purify.bits),
        values=(Whole(about="number of bits per channel", default=2, low=1, high=7),),
        about="only this many bits of each channel (bit depth reduction of ISS, arXiv 2301.13838)",
    ),
    "blur": Defense(
        make=once(purify.blur),
        values=(Real(about="sigma in pixels", default=1.0, above=0, high=50),),
        about="Gaussian blur of this many pixels; the UC authors' code has 3",
    ),
    "noise": Defense(
        make=each(alters.noise),
        values=(Real(about="standard deviation in levels", default=8.0, above=0, high=255),),
        about="fresh Gaussian noise of this many levels in every step; 8 in MI-UE's code",
    ),
    "cutout": Defense(
        make=each(alters.cutout),
        values=(Real(about="share of the side", default=0.5, above=0, high=1),),
        about="a grey square of this share of the side (Cutout, DeVries & Taylor 2017)",
    ),
    "cutmix": Defense(make=each(alters.cutmix), values=(ALPHA,), about="a box from another image, labels mixed (CutMix, Yun et al. 2019)"),
    "mixup": Defense(make=each(alters.mixup), values=(ALPHA,), about="two images blended, labels mixed (mixup, Zhang et al. 2018)"),
    "randaugment": Defense(make=each(alters.randaugment), about="two random operations of magnitude 9 (RandAugment, Cubuk et al. 2020)"),
    "ueraser": Defense(
        make=each(alters.ueraser),
        values=(Word(about="kind", default="lite", words=("lite", "max")),),
        about="plasma, channel shuffle, TrivialAugment; max keeps the worst of 5 draws (UEraser, Qin et al. 2023, arXiv 2303.15127)",
    ),
    "at": Defense(
        make=each(alters.adversarial),
        values=(
            Real(about="radius in levels", default=8.0, above=0, high=127),
            Whole(about="number of steps", default=10, low=1, high=100),
        ),
        about="adversarial training by PGD within this many levels, in this many steps (Madry et al. 2018; 10 of 2/255 in MI-UE's code)",
    ),
    "orthogonal": Defense(
        make=orthogonal,
        about="images projected orthogonal to a linear model's weights (OP, Sandoval-Segura et al. 2023, arXiv 2305.19254)",
    ),
    "early": Defense(
        make=early,
        values=(Real(about="share of the images", default=0.1, above=0, high=0.9),),
        about="keeps the epoch that does best on this share of the images, which the exploiter owns clean",
        owns_clean=True,
    ),
    "subtract": Defense(
        make=subtract,
        values=(PATTERNS,),
        about="guesses this many universal perturbations from the images' residuals, and subtracts each image's own (ours)",
    ),
    "mix": Defense(
        make=mix,
        values=(PATTERNS,),
        about="guesses the same, and adds one at random to each image in every step, so that they predict no label (ours)",
    ),
}
