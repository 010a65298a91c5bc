"""`Grid` names every victim that an evaluation trains; `GridCell` is one of them."""

from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from itertools import product

from ray_ue.config import victims
from ray_ue.config.schedules import AIRBENCH, OURS, SCHEDULES, Schedule
from ray_ue.models.names import UNNORMALISED
from ray_ue.models.pretrained import specs
from ray_ue.registry import pick

EVERYDAY = "none,jpeg:75,jpeg:90,resize:0.5,rrc,jitter,cutmix"  # what happens to images without any intent against a protection
DEFENSE_SETS = {
    "everyday": EVERYDAY,
    "determined": f"{EVERYDAY},jpeg:30,jpeg:10,grayscale,blur:1,highpass,picn,subtract,at:4,ueraser,orthogonal,"
    "lowpass,histeq,rsk,coin,notch",
}
AUTO = "auto"  # the training that suits the machines: what learns most where there are GPUs, what is quick elsewhere
SEEDS = 3
QUICK = {
    "training": "fast",
    "defenses": "none,rrc,jitter",
    "seeds": 2,
    "epochs": 6,
    "image_size": 32,
    "train_rows": 1125,
    "test_rows": 1000,
}


def split_list(text: str) -> tuple[str, ...]:
    """The entries of a comma-separated list, without repetitions, in order."""
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The victims of an evaluation. Each is trained on the protected rows, and on the controls: clean rows, rows with random noise, and
    rows with a random pattern per group."""

    victims: str = "fast"
    """Networks that the exploiter trains, comma-separated: fast, resnet18, linear, simclr:resnet18, probe:open_clip:RN50/openai, …"""
    relabels: str = "auto"
    """The exploiter's labels: identity, super:5, super:MAP.json, text:5, pseudo:10, finer:20, …; auto takes three of them."""
    defenses: str = "none,grayscale,jpeg:10,cutmix"
    """Defenses of the exploiter: none, jpeg:10, cutmix, at:4, subtract:20, …; a+b applies both. Two words name sets and can be mixed
    with other names: everyday (none, jpeg:75, jpeg:90, resize:0.5, rrc, jitter, cutmix) and determined (everyday and jpeg:30, jpeg:10,
    grayscale, blur:1, highpass, picn, subtract, at:4, ueraser, orthogonal, lowpass, histeq, rsk, coin, notch)."""
    seeds: int = 0
    """Victims per cell, each with its own seed; mean and standard deviation are over them. 0 takes 3, or 2 with --quick."""
    clean_fraction: str = "0"
    """Fractions of the training rows that the exploiter has as clean images, comma-separated; 0 is none."""
    purified: str = ""
    """Folders with copies that another tool has purified, comma-separated; each is evaluated like a defense."""
    training: str = AUTO
    """How victims are trained: fast, best (twice as long, and the network fast at a second, lower rate: what learns most from clean
    images does not learn most from a copy), auto (best where there are GPUs, else fast; a sweep takes fast), paper (UC: 90 epochs,
    batch 512), paper-mi-ue (200 epochs, batch 128)."""
    epochs: int = 0
    """Passes over the training rows; 0 keeps the value of --training."""
    batch: int = 0
    """Images per training step; 0 keeps the value of --training."""
    learning_rate: float = 0.0
    """Largest learning rate; 0 keeps the value of --training."""
    flips: float = 0.5
    """Fraction of mirrored training images; 0 where left and right differ, as in digits (contrastive views always mirror)."""
    image_size: int = 0
    """Side at which victims see images; 0 takes the side of the images up to 64 pixels, else 224."""
    train_rows: int = 0
    """Maximum number of training rows, drawn at random; 0 takes all."""
    test_rows: int = 0
    """Maximum number of test rows, drawn at random; 0 takes all."""
    curve_rows: int = 1000
    """Test rows for the accuracy after each epoch; the final accuracy uses all test rows."""
    encoder: str = "timm:tf_efficientnet_lite0"
    """Network for pseudo-labels and finer labels: timm:…, open_clip:…, torchvision:…, or ssl:… trained on the clean rows."""
    encoder_steps: int = 100
    """Training steps of an ssl encoder."""
    texts: str = ""
    """Text encoder for --relabels text:M, such as open_clip:ViT-B-32/openai or open_clip:ViT-B-32@FILE."""
    quick: bool = False
    """An answer in minutes: defenses none, rrc and jitter, 2 seeds, 6 epochs, 32 pixels, at most 1,125 training and 1,000 test
    images; any of these that is given another value keeps it."""

    def settled(self) -> "Grid":
        """The same grid, with the values that `quick` stands for, and a number of seeds."""
        plain = Grid()
        values = {name: value for name, value in QUICK.items() if self.quick and getattr(self, name) == getattr(plain, name)}
        return replace(self, **({"seeds": self.seeds or SEEDS} | values), quick=False)  # type: ignore[arg-type]

    def trained_on(self, *, gpus: float) -> "Grid":
        """The same grid, with the way of training that `auto` stands for on machines with that many GPUs."""
        return replace(self, training="best" if gpus else "fast") if self.training == AUTO else self

    def identity(self) -> dict[str, object]:
        """The fields that make two settled grids differ."""
        return {name: value for name, value in asdict(self).items() if name != "quick"}

    def with_absolute_paths(self) -> "Grid":
        """The same grid with absolute paths of weights, because workers run in other folders."""
        names = ",".join(specs.rooted(name) for name in self.victims.split(","))
        return replace(self, victims=names, encoder=specs.rooted(self.encoder), texts=specs.rooted(self.texts))

    def check(self) -> None:
        """Raise `ValueError` for values that cannot work; the error says what would have worked."""
        self.schedule()
        for name in self.victim_names():
            victims.parse_victim(name).check()
        specs.check(specs.parse(self.encoder))
        self.fractions()
        for name, least in (("seeds", 0), ("image_size", 0), ("train_rows", 0), ("test_rows", 0), ("curve_rows", 1), ("encoder_steps", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"--{name.replace('_', '-')} must be {least} or more, got {getattr(self, name)}")
        if self.image_size and self.image_size < 16:
            raise ValueError(f"--image-size {self.image_size} is too small; use 16 or more, or 0 for the side of the images")
        if not 0 <= self.flips <= 1:
            raise ValueError(f"--flips is a fraction from 0 to 1, got {self.flips:g}")

    def schedule(self) -> Schedule:
        """The training schedule with the values that the grid overrides; of `auto`, that of machines without GPUs."""
        schedule = pick(SCHEDULES | {AUTO: SCHEDULES["fast"]}, self.training, what="way of training (--training)")
        changes = {"epochs": self.epochs, "batch": self.batch, "lr": self.learning_rate}
        if negative := [name for name, value in changes.items() if value < 0]:
            raise ValueError(f"--{negative[0].replace('lr', 'learning-rate')} must be above 0, got {changes[negative[0]]:g}")
        return replace(schedule, **{name: value for name, value in changes.items() if value})  # type: ignore[arg-type]

    def schedule_for(self, victim: str) -> Schedule:
        """The schedule of one victim: at the rate that it names, or else the grid's. Fast and best have higher rates for the network
        `fast`, and a tenth of their rate for victims without batch norm or with pretrained weights."""
        schedule, victim_spec = self.schedule(), victims.parse_victim(victim)
        if victim_spec.rate:
            return replace(schedule, lr=victim_spec.rate)
        if self.training not in (*OURS, AUTO) or self.learning_rate:
            return schedule
        if victim_spec.how == "finetune" or (victim_spec.how == "scratch" and victim_spec.arch in UNNORMALISED):
            return replace(schedule, lr=schedule.lr / 10)
        if victim_spec.how == "scratch" and victim_spec.arch == "fast":
            return replace(schedule, **AIRBENCH)
        return schedule

    def victim_names(self) -> tuple[str, ...]:
        """The requested victims, without repetitions; the best training adds the network `fast` at a second rate."""
        names = _split_required(self.victims, flag="victims", example=victims.EXAMPLES)
        if self.training != "best" or self.learning_rate:
            return names
        second = f"fast:{SCHEDULES['best'].lr:g}"
        return split_list(",".join(f"{name},{second}" if name == "fast" else name for name in names))

    def defense_names(self) -> tuple[str, ...]:
        """The requested defenses, without repetitions; the words of `DEFENSE_SETS` stand for several."""
        names = _split_required(self.defenses, flag="defenses", example="none,grayscale,jpeg:10,cutmix")
        return split_list(",".join(DEFENSE_SETS.get(name, name) for name in names))

    def relabel_names(self, *, classes: int) -> tuple[str, ...]:
        """The requested relabels. `auto` takes the labels, half as many superclasses and as many pseudo-labels, if there are labels."""
        if self.relabels.strip() != "auto":
            return _split_required(self.relabels, flag="relabels", example="identity,super:5,pseudo:10")
        if classes < 2:
            return ("pseudo:10",)
        return ("identity", *([f"super:{classes // 2}"] if classes > 3 else []), f"pseudo:{classes}")

    def fractions(self) -> tuple[float, ...]:
        """Sorted fractions of clean rows, always with 0, the reference of the others."""
        try:
            fractions = {float(word) for word in split_list(self.clean_fraction)}
        except ValueError:
            raise ValueError(f"--clean-fraction is a list of fractions such as 0,0.2,0.5,0.8, got {self.clean_fraction!r}") from None
        if invalid := sorted(fraction for fraction in fractions if not 0 <= fraction < 1):
            raise ValueError(f"--clean-fraction is from 0 to below 1, got {invalid[0]:g}; 0.2 means that a fifth of the rows is clean")
        return tuple(sorted(fractions | {0.0}))

    def purified_folders(self) -> tuple[str, ...]:
        return split_list(self.purified)


def _split_required(text: str, *, flag: str, example: str) -> tuple[str, ...]:
    if not (names := split_list(text)):
        raise ValueError(f"--{flag} is empty; write for example --{flag} {example}")
    return names


def _purified_names(folders: tuple[str, ...]) -> list[str]:
    """`purified:` and as many of the last parts of each path as distinguish all folders."""
    parts = [folder.rstrip("/").split("/") for folder in folders]
    for taken in range(1, 1 + max(map(len, parts), default=0)):
        if len(set(names := [f"purified:{'/'.join(part[-taken:])}" for part in parts])) == len(folders):
            return names
    return [f"purified:{folder}" for folder in folders]


ORDER = ("clean", "noise", "pattern", "protected", "clean-part")


@dataclass(frozen=True, kw_only=True)
class GridCell:
    """One victim of the grid.

    `data` is protected, clean, noise, pattern or clean-part; `purified` is the index of a purified folder, or -1.
    """

    copy: int
    data: str
    fraction: float
    victim: str
    relabel: str
    defense: str
    seed: int
    purified: int = -1


def grid_cells(grid: Grid, *, copies: int, relabels: tuple[str, ...], patterned: Collection[int] = ()) -> list[GridCell]:
    """Every victim of the grid: controls first, so that an interrupted evaluation has its references.

    `patterned` are the numbers of the copies whose groups are known: they have a random pattern per group as a control, too.
    """
    kinds = {copy: ("clean", "noise", *(["pattern"] if copy in patterned else []), "protected") for copy in range(copies)}
    cells: list[GridCell] = []
    axes = list(product(range(copies), grid.victim_names(), relabels, grid.defense_names(), range(grid.seeds)))
    for copy, victim, relabel, defense, seed in axes:
        for data in kinds[copy]:
            cells.append(GridCell(copy=copy, data=data, fraction=0.0, victim=victim, relabel=relabel, defense=defense, seed=seed))
    for fraction in grid.fractions()[1:]:
        for copy, victim, relabel, defense, seed in axes:
            for data in ("clean-part", "protected"):
                cells.append(GridCell(copy=copy, data=data, fraction=fraction, victim=victim, relabel=relabel, defense=defense, seed=seed))
    for number, name in enumerate(_purified_names(grid.purified_folders())):
        for copy, victim, relabel, seed in product(range(copies), grid.victim_names(), relabels, range(grid.seeds)):
            for data in kinds[copy]:
                cells.append(
                    GridCell(copy=copy, data=data, fraction=0.0, victim=victim, relabel=relabel, defense=name, seed=seed, purified=number)
                )
    return sorted(cells, key=lambda cell: ORDER.index(cell.data))
