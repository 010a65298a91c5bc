"""One for All (14A; Chen et al. 2024, ICML): a generator moves images away from their concepts, which are texts.

As in the authors' code (xiye7lai/UnlearnableConcept): the generator, what it is told (the clean image's own feature), the two terms,
crops, Adam and its rates. Otherwise: it is trained on the collection, theirs once on ImageNet and then applied anywhere; an image's
concepts are those whose texts are nearest to it, theirs those near to the name of its ImageNet class; a row is compared with its own
concepts, theirs with those of the whole batch; the encoder sees normalised images, theirs raw ones; and the budget clips, theirs knows
an L2 norm alone. Their script that makes the copies perturbs normalised images and saves them clipped to [0, 1]: not repeated. Not
recovered: their trained weights and their lists of near and opposite classes, which the repository does not hold.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ray_ue.images.augment import crop, draw_crops
from ray_ue.loop import Step, Workers, adam_state, joint_state, no_loss, read_loss, restore_adam, seeded_weights, to_cpu, with_prefix
from ray_ue.methods._shared.delta_method import DeltaMethod
from ray_ue.methods._shared.delta_updates import DeltaUpdates, open_deltas
from ray_ue.methods._shared.sampler import Images, Rows, Sampler, largest_batch
from ray_ue.methods._shared.source_model import cosine_rate, refuse_several_workers
from ray_ue.methods.base import Aimed, View
from ray_ue.models.conditional_generator import ConditionalGenerator
from ray_ue.models.precision import autocast
from ray_ue.models.pretrained.specs import parse
from ray_ue.models.pretrained.surrogates import Surrogate
from ray_ue.perturbations.budget import Budget
from ray_ue.perturbations.interchange import digest
from ray_ue.random_streams import STREAMS

HOW = "write --method concept --surrogate open_clip:ViT-B-32/openai --settings concepts=FILE, a text file with one concept per line"
SIDE = 224  # of the images that the authors' norm of 16 is meant for
FLOOR = 0.05  # the cosine below which its reciprocal goes on as a straight line: ours, for CLIP's cosines are above it

Features = Float[Tensor, "B D"]


@dataclass(frozen=True, kw_only=True)
class Concept(DeltaMethod):
    """`concepts` is a text file, one concept per line, that every worker sees; the surrogate is an open_clip one.

    The loss is the mean cosine with the `k_near` nearest concepts (5 in the paper, 3 in the code) plus `opposite_weight` / the mean
    cosine with the least similar one. A delta has the L2 norm `norm` at 224 x 224 and as much per pixel at other sides; then the
    budget clips it: 8/255 leaves at most 12.2, 16/255 24.3. Slopes pass through that clipping unchanged, else they would vanish at
    small budgets.
    """

    per = "image"
    single_worker = True
    surrogate_kind = "open_clip"
    file_settings = ("concepts",)
    concepts: str = ""
    epochs: int = 200
    batch: int = 30
    k_near: int = field(default=5, metadata={"identity": "near"})
    opposite_weight: float = field(default=0.1, metadata={"identity": "pull"})
    norm: float = 16.0
    width: int = 64
    blocks: int = 24
    learning_rate: float = 1e-3
    decay: float = 5e-4

    def __post_init__(self) -> None:
        if min(self.epochs, self.batch, self.k_near, self.width) < 1 or min(self.norm, self.learning_rate) <= 0:
            raise ValueError(f"concept needs epochs, batch, k_near, width, norm and rate above zero, got {self}")
        if min(self.blocks, self.opposite_weight, self.decay) < 0:
            raise ValueError(f"concept needs blocks, opposite_weight and decay of zero or more, got {self}")
        if not self.concepts:
            raise ValueError(f"concept moves images away from texts and needs some: {HOW}")
        if len(names := read_concepts(Path(self.concepts))) <= self.k_near:
            raise ValueError(
                f"{self.concepts} has {len(names)} concepts; k_near={self.k_near} and an opposite one need {self.k_near + 1} or more"
            )

    @property
    def uses_surrogate(self) -> bool:
        return True

    @property
    def unplanned_model(self) -> str:
        return "generator"

    def peak_batch(self, rows: int, *, pools: int) -> int:
        return largest_batch(rows, pools=pools, batch=self.batch)

    def identity(self) -> dict[str, object]:
        return {**super().identity(), "concepts": f"sha256:{digest(Path(self.concepts))}"}

    def passes(self, rows: int) -> int:
        """Every row goes through the encoder clean and perturbed in an epoch, and clean once more in the end."""
        return (2 * self.epochs + 1) * rows

    def craft(self, view: View, *, budget: Budget, aim: Aimed, seed: int, workers: Workers, resume: Mapping[str, Tensor]) -> Iterator[Step]:
        check_surrogate(view.surrogate)
        refuse_several_workers(workers, method="concept")
        texts = embed_concepts(read_concepts(Path(self.concepts)), surrogate=view.surrogate)
        deltas = open_deltas(view, budget=budget, workers=workers, resume=resume)
        sampler = Sampler(view=view, workers=workers, seed=seed)
        with seeded_weights(seed + 2):
            net = ConditionalGenerator(width=self.width, blocks=self.blocks, given=view.surrogate.width)
        net = net.to(view.surrogate.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        adam = torch.optim.Adam(net.parameters(), lr=self.learning_rate, weight_decay=self.decay)
        if resume:
            net.load_state_dict(with_prefix("net.", resume))
            restore_adam(adam, resume)
        per_epoch, rows = sampler.per_epoch(batch=self.batch), len(view.pixels)
        trained = self.epochs * per_epoch
        loss_of = no_loss
        for step in range(int(resume["step"]) if resume else 0, trained + 1):
            if step < trained:
                loss_of = self._train_step(net, adam, sampler, texts, epoch=step // per_epoch, turn=step % per_epoch, budget=budget)
            else:
                self._settle(deltas, net, sampler, budget=budget)
            yield Step(
                step=step + 1,
                steps=trained + 1,
                loss_of=loss_of,
                images=2 * self.epochs * rows * (step + 1) // trained if step < trained else self.passes(rows),
                state=joint_state(partial(_weights, net, adam), deltas.state, step=step + 1),
                saved="must" if step + 1 >= trained else "may",
            )

    def loss(self, features: Features, *, near: Float[Tensor, "B K D"], far: Features) -> Float[Tensor, ""]:
        """What the generator lowers, from unit vectors: those of its images, of their near concepts and of their opposite one."""
        close = torch.einsum("bd,bkd->bk", features, near).mean()
        opposite = (features * far).sum(1).mean()
        safe = opposite.clamp(min=FLOOR)
        return close + self.opposite_weight * (1 / safe + (safe - opposite) / FLOOR**2)

    def _train_step(
        self,
        net: nn.Module,
        adam: torch.optim.Adam,
        sampler: Sampler,
        texts: Float[Tensor, "K D"],
        *,
        epoch: int,
        turn: int,
        budget: Budget,
    ) -> Callable[[], float]:
        """One batch, cropped and flipped as the authors do."""
        surrogate, rows = sampler.view.surrogate, sampler.training(epoch, batch=self.batch)[turn]
        for group in adam.param_groups:
            group["lr"] = cosine_rate(epoch / self.epochs, lr=self.learning_rate, floor=0.0)
        net.train()
        rng = np.random.default_rng([sampler.seed, STREAMS["concept/crops"], epoch, turn])
        images = crop(sampler.images(rows), draw_crops(len(rows), canvas=surrogate.canvas, size=surrogate.size, flips=0.5, rng=rng))
        clean = _unit_features(surrogate, images).detach()
        alike = clean @ texts.T
        perturbed = (images + self._delta(net, images, clean, budget=budget)).clamp(0, 1)
        loss = self.loss(_unit_features(surrogate, perturbed), near=texts[alike.topk(self.k_near).indices], far=texts[alike.argmin(1)])
        adam.zero_grad()
        loss.backward()
        adam.step()
        return read_loss(loss.detach(), what="the generator's loss", advice=f"lower --learning-rate {self.learning_rate:g}")

    def _delta(self, net: nn.Module, images: Images, clean: Features, *, budget: Budget) -> Images:
        """At the wanted norm and within the budget; slopes are those of the delta before it was clipped."""
        with autocast(images.device):
            drawn = net(images, clean).float()
        wanted = self.norm * images.shape[2] / SIDE
        whole = drawn * (wanted / drawn.flatten(1).norm(dim=1).clamp(min=1e-12))[:, None, None, None]
        return whole + (budget.project(whole) - whole).detach()

    def _settle(self, deltas: DeltaUpdates, net: nn.Module, sampler: Sampler, *, budget: Budget) -> None:
        net.eval()

        def make(rows: Rows) -> tuple[Images, Images]:
            images = sampler.images(rows)
            with torch.no_grad():
                return images, self._delta(net, images, _unit_features(sampler.view.surrogate, images), budget=budget)

        deltas.assign(sampler.pooled(0, batch=self.batch), make)


def read_concepts(file: Path) -> list[str]:
    """The concepts of a text file, each once, without empty lines."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ValueError(f"the concepts file {file} cannot be read ({error.strerror}); every node must see it; {HOW}") from None
    except UnicodeDecodeError:
        raise ValueError(f"the concepts file {file} is not UTF-8 text; {HOW}") from None
    return list(dict.fromkeys(filter(None, (line.strip() for line in lines))))


def check_surrogate(surrogate: Surrogate) -> None:
    """Refuse a surrogate whose features are not in one space with texts."""
    if not surrogate.name.startswith("open_clip:"):
        raise ValueError(f"concept compares images with texts, which the surrogate {surrogate.name} cannot read; {HOW}")


def embed_concepts(names: list[str], *, surrogate: Surrogate) -> Float[Tensor, "K D"]:
    """The unit vectors of "a photo of a {concept}" by the surrogate's own model, on its device."""
    from ray_ue.models.pretrained.open_clip import embed_names  # open_clip takes seconds to import

    spec = parse(surrogate.name)
    vectors = torch.from_numpy(embed_names(spec.arch, spec.weights, names)).to(surrogate.device)
    assert vectors.shape[1] == surrogate.width, "both towers of a CLIP model end in one space"
    return vectors


def _unit_features(surrogate: Surrogate, images: Images) -> Features:
    return F.normalize(surrogate.features(images), dim=1)


def _weights(net: nn.Module, adam: torch.optim.Adam) -> dict[str, Tensor]:
    return to_cpu({f"net.{name}": value for name, value in net.state_dict().items()} | adam_state(adam))
