"""One cell: a victim trained on one pixel set and measured. Its folder is an artifact; a killed cell resumes from its checkpoint."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn

from ray_ue.config.schedules import Schedule
from ray_ue.config.victims import parse_victim
from ray_ue.engine.train_loop import CHECKPOINT, EVERY_SECONDS
from ray_ue.exploiter import train
from ray_ue.exploiter.dataset import Block, Training
from ray_ue.exploiter.defenses.registry import acts_on_test, defend, prepare_test
from ray_ue.exploiter.supervised import predict
from ray_ue.loop import Workers
from ray_ue.models.acceleration import worth_compiling
from ray_ue.models.pretrained.tower import Unavailable
from ray_ue.random_streams import STREAMS
from ray_ue.stages.evaluate.checkpoint import load_checkpoint, save_checkpoint
from ray_ue.stages.evaluate.labels import open_labels
from ray_ue.stages.evaluate.pixel_set import PixelSet, block
from ray_ue.stages.protect.views import open_views
from ray_ue.storage.artifacts import Folder, Manifest, fingerprint, finish, finished, opened
from ray_ue.version import VICTIM_PACKAGES, installed_versions

VERSION = 2
MIXED = ("protected", "clean-part")


@dataclass(frozen=True, kw_only=True)
class CellJob:
    """All that a worker needs to train one cell. What is in `identity` makes its fingerprint; the folders only say where things lie."""

    data: str  # protected, clean, noise or clean-part
    fraction: float
    victim: str
    defense: str
    seed: int
    schedule: Schedule
    size: int
    flips: float
    curve_rows: int
    pixels: PixelSet
    clean: PixelSet
    rows: PixelSet  # the labels' rows
    labels: Folder
    classes: int
    labels_sha256: str
    test: Folder
    test_sha256: str
    perturbed: Folder | None
    perturbed_sha256: str
    home: Folder
    workers: int = 1

    def identity(self) -> dict[str, object]:
        victim = parse_victim(self.victim)
        mixed = self.data in MIXED and self.fraction > 0
        return {
            "pixels": self.pixels.sha256,
            "clean": self.clean.sha256,
            "mixture": [self.data, self.fraction] if mixed else [],
            "labels": self.labels_sha256,
            "rows": self.rows.sha256,
            "test": self.test_sha256,
            "perturbed": self.perturbed_sha256,
            "victim": victim.identity(),
            "defense": self.defense,
            "seed": self.seed,
            "schedule": asdict(self.schedule),
            "size": self.size,
            "flips": self.flips,
            "curve_rows": self.curve_rows,
            **({"filtered test": True} if acts_on_test(self.defense) else {}),
            **({"workers": self.workers} if self.workers > 1 else {}),  # each draws its own batches: another victim of the same kind
        }

    def fingerprint(self) -> str:
        return fingerprint("cell", version=VERSION, fields=self.identity(), inputs={})

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.data} · {self.victim} · {self.defense} · seed {self.seed}"

    @property
    def folder(self) -> Folder:
        return self.home.child(f"cell-{self.fingerprint()}")

    def train(self, *, device: torch.device, workers: Workers, keep: bool, told: Callable[[str], None]) -> dict:
        """Train and measure one cell; returns its facts. A victim that fails by itself gives {"failed": reason}, also an artifact."""
        folder = self.folder
        if finished(folder):
            return opened(folder).facts
        begun, problem = _begin(self)
        # Weights are a node's own: a worker that cannot begin must not leave the others waiting for it.
        failed = int(workers.all_reduce(torch.tensor([float(begun is None)], device=device)).item())
        if begun is None or failed:
            reason = {"failed": _line(problem) if problem else "a worker on another node could not begin: its weights are not there"}
            if failed < workers.world or isinstance(problem, Unavailable) or isinstance(getattr(problem, "__cause__", None), OSError):
                return reason  # no artifact: the weights may be there the next time
            return self._keep(folder, reason, workers=workers)
        try:
            facts, weights = _train(self, folder, begun, device=device, workers=workers, told=told)
        except (ValueError, FloatingPointError) as error:
            if workers.world > 1 and isinstance(error, ValueError):
                raise  # the other workers may wait for this one
            facts, weights = {"failed": _line(error)}, {}
        except torch.OutOfMemoryError as error:  # no artifact: with more room the same cell may well work
            if workers.world > 1:
                raise  # the other workers wait for this one
            return {"failed": f"out of memory: {str(error).splitlines()[0][:200]}; lower --batch, or use --gpus-per-victim 1"}
        except RuntimeError as error:  # a library's, about this victim: not certain to come again, and no reason to stop the grid
            if workers.world > 1 or breaks_device(error):
                raise
            return {"failed": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
        if workers.rank == 0 and weights and keep:
            folder.write("net.safetensors", save(weights))
        return self._keep(folder, facts, workers=workers)

    def _keep(self, folder: Folder, facts: dict, *, workers: Workers) -> dict:
        """Make the cell an artifact with these facts, and give them back."""
        if workers.rank == 0:
            folder.remove(CHECKPOINT)
            versions = installed_versions(VICTIM_PACKAGES)
            manifest = Manifest(stage="cell", fingerprint=self.fingerprint(), fields=self.identity(), facts=facts, versions=versions)
            finish(folder, manifest)
        return facts


def breaks_device(error: RuntimeError) -> bool:
    """Whether nothing else can run on this process's device after the error; Ray must start another process."""
    return isinstance(error, torch.AcceleratorError) or "CUDA error" in str(error)


def training_of(job: CellJob) -> Training:
    """The exploiter's training set, mixture and defense included."""
    rows = job.rows.places()
    labels = open_labels(job.labels)[0][rows].astype(np.int64)
    pixels, clean = block(job.pixels), block(job.clean)
    if job.data in MIXED and job.fraction > 0:
        chosen = np.random.default_rng([job.seed, STREAMS["evaluate/clean-part"]]).permutation(len(labels))[
            : round(job.fraction * len(labels))
        ]
        if not len(chosen):
            raise ValueError(f"a clean fraction of {job.fraction:g} of {len(labels)} images is none; ask for a larger one")
        if job.data == "clean-part":
            chosen = np.sort(chosen)
            pixels, clean, labels = clean[chosen], clean[chosen], labels[chosen]
        else:
            pixels = np.array(pixels)
            pixels[chosen] = clean[chosen]
    training = Training(pixels=pixels, clean=clean, labels=labels, classes=job.classes)
    return defend(job.defense, training, rng=np.random.default_rng([job.seed, STREAMS["evaluate/defense"]]))


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


def _begin(job: CellJob) -> tuple[tuple[Training, nn.Module] | None, ValueError | None]:
    """The training set and the fresh victim, or why there is none."""
    victim = parse_victim(job.victim)
    try:
        training = training_of(job)
        train.refuse_idle_defense(victim, training)
        return (training, train.build_victim(victim, training, size=job.size, seed=job.seed)), None
    except ValueError as error:
        return None, error


def _train(
    job: CellJob,
    folder: Folder,
    begun: tuple[Training, nn.Module],
    *,
    device: torch.device,
    workers: Workers,
    told: Callable[[str], None],
) -> tuple[dict, dict[str, Tensor]]:
    victim, (training, net) = parse_victim(job.victim), begun
    began, saved = time.monotonic(), time.monotonic()
    compiled = worth_compiling(job.schedule.epochs * len(training.labels), device=device, world=workers.world)
    setting = train.TrainSetting(
        schedule=job.schedule, size=job.size, flips=job.flips, seed=job.seed, device=device, workers=workers, compiled=compiled, tell=told
    )
    tests = {"accuracy": _test(job.test, job), **({"perturbed": _test(job.perturbed, job)} if job.perturbed else {})}
    resume, curves, spent = load_checkpoint(folder)
    last, looped, entered = None, 0.0, time.monotonic()
    for last in train.train_victim(victim, training, net=net, setting=setting, resume=resume):
        looped += time.monotonic() - entered
        entered = time.monotonic()
        if workers.rank:
            continue
        curves["epoch"].append(last.epoch)
        curves["loss"].append(last.loss)
        for name, (pixels, labels) in tests.items():
            curve_rows = _some(len(labels), job.curve_rows)
            curves[name].append(_share(predict(net, pixels[curve_rows], size=job.size) == labels[curve_rows]))
        told(f"{job.name}: epoch {last.epoch}/{last.epochs}, loss {last.loss:.3g}")
        if last.epoch < last.epochs and time.monotonic() - saved >= EVERY_SECONDS:
            save_checkpoint(folder, last.state(), curves, spent + time.monotonic() - began)
            saved = time.monotonic()
        entered = time.monotonic()
    if workers.rank:
        return {}, {}
    facts: dict = {f"curve_{name}": values for name, values in curves.items()}
    for name, (pixels, labels) in tests.items():
        named = predict(net, pixels, size=job.size)
        facts[name] = _share(named == labels)
        if name == "accuracy":
            facts["class_accuracy"] = [_share(named[labels == kind] == kind) for kind in range(job.classes)]
            if acts_on_test(job.defense):
                facts["filtered"] = _share(predict(net, prepare_test(job.defense, np.asarray(pixels)), size=job.size) == labels)
    curve_rows = _some(len(training.labels), job.curve_rows)
    facts["train"] = _share(predict(net, training.pixels[curve_rows], size=job.size) == training.labels[curve_rows])
    facts |= {
        "loss": curves["loss"][-1],
        "rows": len(training.labels),
        "epochs": int(curves["epoch"][-1]),
        "images": last.images if last else job.schedule.epochs * len(training.labels),
        "seconds": round(spent + time.monotonic() - began, 2),
        "looped": round(looped, 3),  # of these seconds, since the last start: passes alone, without measuring and saving
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "workers": workers.world,
    }
    return facts, {name: value.detach().cpu().contiguous() for name, value in net.state_dict().items()}


def _test(views: Folder, job: CellJob) -> tuple[Block, np.ndarray]:
    """Test pixels and the exploiter's labels for them; perturbed views may lack a few rows."""
    pixels, ids = open_views(views)
    all_ids = open_views(job.test)[1]
    return pixels, open_labels(job.labels)[1][np.searchsorted(all_ids, ids)].astype(np.int64)


def _some(rows: int, most: int) -> np.ndarray:
    return np.sort(np.random.default_rng(19).permutation(rows)[:most])


def _share(right: np.ndarray) -> float:
    return float(right.mean()) if len(right) else float("nan")
