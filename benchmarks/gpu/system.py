"""What runs through processes: embedding under Ray, a crafting that is killed and goes on, and the doctor."""

import multiprocessing
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.data import as_shards
from benchmarks.embed import CHUNKS, decode, encode, through
from benchmarks.gpu.pictures import SIDE
from benchmarks.gpu.rows import Row, Setting
from benchmarks.gpu.worlds import BUDGET, image_view
from benchmarks.job import Stages, job
from ray_ue.config.recipe import Recipe
from ray_ue.engine.train_loop import load_checkpoint, save_checkpoint
from ray_ue.images.codec import Picture
from ray_ue.images.codec import encode as encode_picture
from ray_ue.loop import Step, Workers
from ray_ue.methods.mi_ue import MIUE
from ray_ue.models.pretrained.specs import parse
from ray_ue.models.pretrained.surrogates import load
from ray_ue.models.small import backbone
from ray_ue.storage.artifacts import Folder

WAIT = 60.0  # seconds for the first checkpoints of a crafting


def embed(setting: Setting) -> Iterator[Row]:
    """The stage with `ssl:small`, once started, over the slower of decoding on all cores and the encoder alone."""
    rows = CHUNKS * setting.size(32, 3333)
    blobs = [encode_picture(Picture(rgb=rgb, alpha=None, exif=b"", icc=b""), format="png") for rgb in setting.pictures.rows(rows)[0]]
    source = as_shards(iter(blobs), setting.scratch / "pictures", rows=rows, per_shard=rows // CHUNKS)
    recipe = Recipe(method="uc", surrogate="ssl:small", image_size=SIDE, ssl_steps=2, craft_sample=64)
    fresh = backbone("small", image_size=SIDE, seed=0).state_dict()
    surrogate = load(parse(recipe.surrogate), device=setting.device, weights=fresh, image_size=SIDE)
    with job(source, setting.scratch, recipe=recipe) as run:
        actors, share = run.machines.encoder(run.resources)
        threads = run.machines.hosts().threads(run.resources, tasks=actors)
        began = time.perf_counter()
        views = decode(blobs, recipe, canvas=surrogate.canvas, threads=threads)
        decoding = rows / (time.perf_counter() - began)
        encoding = encode(views, surrogate)
        stages = Stages(run)
        stages.until("surrogate")
        asked = time.perf_counter()
        vectors = stages.until("embed")["embed"]
        whole = rows / (time.perf_counter() - asked)
        staged, _ = through(Path(vectors.folder.uri) / "vectors")
    detail: dict[str, object] = {
        "rows": rows,
        "device": "gpu" if share else "cpu",
        "threads": threads,
        "decoding": round(decoding),
        "encoding": round(encoding),
    }
    yield Row(what="embed: stage, once started", value=staged, unit="images/s", bare=min(decoding, encoding), least=0.5, detail=detail)
    yield Row(what="embed: stage with its start", value=whole, unit="images/s")


def small_method(setting: Setting) -> MIUE:
    return MIUE(network="fast", epochs=setting.size(2, 4), batch=32, poison_batch=32, steps=3, learning_rate=0.01)


def steps_of(setting: Setting, place: str, *, resume: dict[str, Tensor]) -> Iterator[Step]:
    view = image_view(setting, setting.scratch / place, rows=setting.size(64, 512), device=setting.device)
    aim = np.arange(view.groups)
    return small_method(setting).craft(view, budget=BUDGET, aim=aim, seed=0, workers=Workers(), resume=resume)


def craft_slowly(setting: Setting) -> None:
    """A process that crafts, keeps a checkpoint after each step, and is killed in the middle."""
    folder = Folder.at(str(setting.scratch / "checkpoints"))
    for step in steps_of(setting, "killed", resume={}):
        save_checkpoint(folder, step)
        time.sleep(0.05)


def resume(setting: Setting) -> Iterator[Row]:
    """A crafting of MI-UE whose process is killed, and goes on here from its last checkpoint, against one that nobody stopped."""
    folder = Folder.at(str(setting.scratch / "checkpoints"))
    *_, last = steps_of(setting, "whole", resume={})
    whole = bank(setting, "whole", last.state())
    victim = multiprocessing.get_context("spawn").Process(target=craft_slowly, args=(setting,))
    victim.start()
    began, at = time.monotonic(), 0
    while at < last.steps // 3 and victim.is_alive() and time.monotonic() - began < WAIT:
        at = int(load_checkpoint(folder)[1]["step"])
        time.sleep(0.02)
    victim.kill()
    victim.join()
    state, summary = load_checkpoint(folder)
    if not 0 < summary["step"] < last.steps:
        raise ValueError(f"the crafting was at step {summary['step']} of {last.steps} when it was killed")
    *_, end = steps_of(setting, "killed", resume=state)
    apart = float(np.abs(whole.astype(np.float64) - bank(setting, "killed", end.state())).mean())
    exact = setting.device.type == "cpu"
    detail: dict[str, object] = {"killed_at": int(summary["step"]), "steps": last.steps}
    what = "resume: mean distance from a crafting that was not killed"
    yield Row(what=what, value=apart, unit="levels", most=0.0 if exact else 0.5, law=True, detail=detail)


def bank(setting: Setting, place: str, state: dict[str, Tensor]) -> np.ndarray:
    view = image_view(setting, setting.scratch / place, rows=setting.size(64, 512), device=torch.device("cpu"))
    poison = small_method(setting).poison(state, deltas=view.deltas, budget=BUDGET)
    return np.concatenate(list(poison.blocks()))  # type: ignore[attr-defined]


def doctor(setting: Setting) -> Iterator[Row]:
    """The command whatever is installed: it says what is wrong, and never dies of it."""
    ended = subprocess.run([sys.executable, "-m", "ray_ue", "doctor", str(setting.scratch)], capture_output=True, text=True, check=False)
    lines = ended.stdout.splitlines()
    detail: dict[str, object] = {"code": ended.returncode, "lines": lines}
    yield Row(what="doctor: tracebacks", value=float((ended.stdout + ended.stderr).count("Traceback")), most=0, law=True, detail=detail)
    yield Row(what="doctor: checks", value=float(len(lines)), least=10, law=True)
