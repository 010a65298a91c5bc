"""The grid: one frozen value that names every victim that an evaluation trains. Torch-free; it knows names and numbers, no files."""

from dataclasses import dataclass, replace
from itertools import product

from ray_ue.config import victims
from ray_ue.config.schedules import SCHEDULES, Schedule
from ray_ue.models.names import UNNORMALISED
from ray_ue.models.pretrained import specs
from ray_ue.registry import pick


def words(text: str) -> tuple[str, ...]:
    """The parts of a comma-separated list, each once, in order."""
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


@dataclass(frozen=True, kw_only=True)
class Grid:
    """What is asked of an evaluation. Every protected victim stands beside one on clean rows and one on randomly perturbed rows."""

    victims: str = "fast"
    """What the exploiter trains, comma-separated: fast, resnet18, linear, simclr:resnet18, probe:open_clip:RN50/openai, …"""
    relabels: str = "auto"
    """The exploiter's labels: identity, super:5, super:MAP.json, text:5, pseudo:10, finer:20, random:10; auto takes three of them."""
    defenses: str = "none,grayscale,jpeg:10,cutmix"
    """What the exploiter does against the poison: none, jpeg:10, cutmix, at:4, ueraser:max, subtract:20, …; a+b does both."""
    seeds: int = 3
    """Victims per cell; mean and spread are taken over them."""
    clean_fraction: str = "0"
    """Shares of the training rows that the exploiter has in clean form, comma-separated; 0 is none."""
    purified: str = ""
    """Folders with copies that an outside tool has purified, comma-separated; each is evaluated like a defense."""
    training: str = "fast"
    """How victims are trained: fast, paper (UC: 90 epochs, batch 512), paper-mi-ue (200 epochs, batch 128)."""
    epochs: int = 0
    """Passes over the training rows; 0 keeps those of --training."""
    batch: int = 0
    """Images per training step; 0 keeps that of --training."""
    learning_rate: float = 0.0
    """Largest step size; 0 keeps that of --training."""
    flips: float = 0.5
    """Share of mirrored training images: 0 where left and right differ, as in digits or text (contrastive views always mirror)."""
    image_size: int = 0
    """Side at which victims see images; 0 takes the images' own up to 64 pixels, else 224."""
    train_rows: int = 0
    """Most training rows, a random sample of them; 0 takes all."""
    test_rows: int = 0
    """Most test rows, a random sample of them; 0 takes all."""
    curve_rows: int = 1000
    """Test rows that are measured after every epoch; all are measured at the end."""
    encoder: str = "ssl:plain"
    """Network for the exploiter's pseudo-labels and finer labels: open_clip:…, torchvision:…, or an ssl one trained on the clean rows."""
    encoder_steps: int = 100
    """Training steps of an ssl encoder."""
    texts: str = ""
    """Text encoder for --relabels text:M, such as open_clip:ViT-B-32/openai or open_clip:ViT-B-32@FILE."""

    def rooted(self) -> "Grid":
        """The same with absolute paths of weights: workers run in folders of their own."""
        names = ",".join(specs.rooted(name) for name in self.victims.split(","))
        return replace(self, victims=names, encoder=specs.rooted(self.encoder), texts=specs.rooted(self.texts))

    def check(self) -> None:
        """Refuse what cannot work, before any long work; the error says what would have worked."""
        self.schedule()
        for name in self.victim_names():
            victims.parse(name).check()
        specs.check(specs.parse(self.encoder))
        self.fractions()
        for name, least in (("seeds", 1), ("image_size", 0), ("train_rows", 0), ("test_rows", 0), ("curve_rows", 1), ("encoder_steps", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"--{name.replace('_', '-')} must be {least} or more, got {getattr(self, name)}")
        if self.image_size and self.image_size < 16:
            raise ValueError(f"--image-size {self.image_size} is too small for the victims; give 16 or more, or 0 for the images' own")
        if not 0 <= self.flips <= 1:
            raise ValueError(f"--flips is a share from 0 to 1, got {self.flips:g}")

    def schedule(self) -> Schedule:
        """The training schedule with what was overridden."""
        found = pick(SCHEDULES, self.training, what="way of training (--training)")
        changes = {"epochs": self.epochs, "batch": self.batch, "lr": self.learning_rate}
        if negative := [name for name, value in changes.items() if value < 0]:
            raise ValueError(f"--{negative[0].replace('lr', 'learning-rate')} must be above 0, got {changes[negative[0]]:g}")
        return replace(found, **{name: value for name, value in changes.items() if value})  # type: ignore[arg-type]

    def schedule_for(self, victim: str) -> Schedule:
        """The schedule of one victim: a tenth of the fast rate without batch norm or from given weights, the papers' as they are."""
        found, asked = self.schedule(), victims.parse(victim)
        calm = (
            self.training == "fast"
            and not self.learning_rate
            and (asked.how == "finetune" or (asked.how == "scratch" and asked.arch in UNNORMALISED))
        )
        return replace(found, lr=found.lr / 10) if calm else found

    def victim_names(self) -> tuple[str, ...]:
        return _some(self.victims, flag="victims", example=victims.EXAMPLES)

    def defense_names(self) -> tuple[str, ...]:
        return _some(self.defenses, flag="defenses", example="none,grayscale,jpeg:10,cutmix")

    def relabel_names(self, *, classes: int) -> tuple[str, ...]:
        """The relabels asked for; `auto` takes the labels, half as many superclasses and as many pseudo-labels, if there are labels."""
        if self.relabels.strip() != "auto":
            return _some(self.relabels, flag="relabels", example="identity,super:5,pseudo:10")
        if classes < 2:
            return ("pseudo:10",)
        return ("identity", *([f"super:{classes // 2}"] if classes > 3 else []), f"pseudo:{classes}")

    def fractions(self) -> tuple[float, ...]:
        """Sorted shares of clean rows, always with 0, against which the others are read."""
        try:
            found = {float(word) for word in words(self.clean_fraction)}
        except ValueError:
            raise ValueError(f"--clean-fraction is a list of shares such as 0,0.2,0.5,0.8, got {self.clean_fraction!r}") from None
        if wrong := sorted(share for share in found if not 0 <= share < 1):
            raise ValueError(f"--clean-fraction is from 0 to below 1, got {wrong[0]:g}; 0.2 means that a fifth of the rows is clean")
        return tuple(sorted(found | {0.0}))

    def purified_folders(self) -> tuple[str, ...]:
        return words(self.purified)


def _some(text: str, *, flag: str, example: str) -> tuple[str, ...]:
    if not (found := words(text)):
        raise ValueError(f"--{flag} is empty; write for example --{flag} {example}")
    return found


def _purified_names(folders: tuple[str, ...]) -> list[str]:
    """`purified:` and the folder's last name; as much of its path as it takes to tell all of them apart."""
    parts = [folder.rstrip("/").split("/") for folder in folders]
    for taken in range(1, 1 + max(map(len, parts), default=0)):
        if len(set(names := [f"purified:{'/'.join(part[-taken:])}" for part in parts])) == len(folders):
            return names
    return [f"purified:{folder}" for folder in folders]


@dataclass(frozen=True, kw_only=True)
class GridCell:
    """One result's place in the grid. `data` is protected, clean, noise or clean-part; `purified` names a purified folder, or nothing."""

    copy: int
    data: str
    fraction: float
    victim: str
    relabel: str
    defense: str
    seed: int
    purified: int = -1


def grid_cells(grid: Grid, *, copies: int, relabels: tuple[str, ...]) -> list[GridCell]:
    """Every result that the grid asks for: controls first, so that a killed grid has something to compare with."""
    found: list[GridCell] = []
    axes = list(product(range(copies), grid.victim_names(), relabels, grid.defense_names(), range(grid.seeds)))
    for copy, victim, relabel, defense, seed in axes:
        for data in ("clean", "noise", "protected"):
            found.append(GridCell(copy=copy, data=data, fraction=0.0, victim=victim, relabel=relabel, defense=defense, seed=seed))
    for fraction in grid.fractions()[1:]:
        for copy, victim, relabel, defense, seed in axes:
            for data in ("clean-part", "protected"):
                found.append(GridCell(copy=copy, data=data, fraction=fraction, victim=victim, relabel=relabel, defense=defense, seed=seed))
    for number, name in enumerate(_purified_names(grid.purified_folders())):
        for copy, victim, relabel, seed in product(range(copies), grid.victim_names(), relabels, range(grid.seeds)):
            for data in ("clean", "noise", "protected"):
                found.append(
                    GridCell(copy=copy, data=data, fraction=0.0, victim=victim, relabel=relabel, defense=name, seed=seed, purified=number)
                )
    return sorted(found, key=lambda place: ("clean", "noise", "protected", "clean-part").index(place.data))
