"""Hashes of what the package makes from fixed seeds: every method's bank, and every artifact and file of the verbs on small folders."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from conftest import write_classes, write_photos
from laws.method_worlds import SMALL, World
from safetensors import SafetensorError
from safetensors.numpy import load_file

import ray_ue
from ray_ue.cli.main import main

CLOCKS = ("seconds", "looped", "spent", "workers", "resumed_at", "run")  # facts and columns that a second run elsewhere does not repeat
PROSE = ("warnings",)  # sentences have tests of their own
PAGES = ("report.html", "run.json", "sweep.json", "claim.json", "information.md", "results.md", "sweep.md")  # they name paths and times
RECIPE: dict[str, Any] = {
    "method": "uc",
    "surrogate": "ssl:small",
    "clusters": 3,
    "ssl_steps": 2,
    "steps": 3,
    "batch": 12,
    "craft_sample": 40,
    "image_size": 16,
}
GRID: dict[str, Any] = {
    "victims": "mlp2",
    "relabels": "identity,pseudo:3",
    "defenses": "none,grayscale,jpeg:10",
    "epochs": 1,
    "batch": 8,
    "seeds": 2,
    "encoder": "ssl:small",
    "encoder_steps": 2,
}
LOCAL = ray_ue.Resources(workers="local")


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def banks(home: Path) -> dict[str, str]:
    """Every method's protected images and saved bank, per group and per image."""
    found = {}
    for name in SMALL:
        for per in ("group", "image"):
            place = home / f"{name}-{per}"
            place.mkdir()
            world = World(name=name, per=per, home=place)
            poison = world.poison("a")
            poison.save(place / "bank")
            found[f"bank/{name}/{per}"] = sha(world.shown(poison).tobytes() + arrays(place / "bank"))
    return found


def verbs(root: Path) -> dict[str, str]:
    """Everything that protect, evaluate, measure and sweep leave in `root`."""
    write_photos(root / "photos")
    write_classes(root / "classes", range(60))
    write_classes(root / "test", range(60, 90))
    classes, test = str(root / "classes"), str(root / "test")
    labelled: dict[str, Any] = {"groups": "label", **RECIPE}
    ray_ue.protect(str(root / "photos"), str(root / "uc"), resources=LOCAL, **RECIPE)
    ray_ue.protect(classes, str(root / "uc-classes"), resources=LOCAL, **RECIPE)
    settings: dict[str, Any] = {"method": "mi-ue", "settings": "network=mlp2,epochs=2,poison_batch=16", "batch": 16, "steps": 2}
    ray_ue.protect(classes, str(root / "mi-ue"), resources=LOCAL, **(labelled | settings))
    ray_ue.protect(classes, str(root / "lsp"), resources=LOCAL, **(labelled | {"method": "lsp", "batch": 0, "steps": 0}))
    run = str(root / "evaluation")
    ray_ue.evaluate(str(root / "mi-ue"), str(root / "uc-classes"), clean=classes, test=test, results=run, resources=LOCAL, **GRID)
    grid: Any = ray_ue.Grid(**(GRID | dict[str, Any](relabels="identity", defenses="none")))
    ray_ue.sweep(classes, str(root / "sweep"), test=test, vary=("budget=8,16",), evaluate=grid, resources=LOCAL, **RECIPE)
    ray_ue.measure(run, resources=LOCAL, estimators="histogram,mine", mine_steps=5, layers=True)
    main(["perturbations", str(root / "uc"), str(root / "bank.npy")])
    main(["perturbations", str(root / "mi-ue"), str(root / "bank-mi-ue.pt")])
    return dict(files(root))


def files(root: Path) -> Iterator[tuple[str, str]]:
    """The content of every file that a second run repeats, whatever order or clock its format keeps beside it: by `folder: path`."""
    for path in sorted(path for path in root.rglob("*") if path.is_file() and path.name not in PAGES):
        folder, _, rest = path.relative_to(root).as_posix().partition("/")
        yield f"{folder}: {rest}" if rest else folder, sha(content(path))


def content(path: Path) -> bytes:
    if path.name == "manifest.json":
        manifest = json.loads(path.read_text())
        del manifest["versions"]
        manifest["facts"] = {name: value for name, value in manifest["facts"].items() if name not in CLOCKS + PROSE}
        return json.dumps(manifest, sort_keys=True).encode()
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        columns = [name for name in table.column_names if name not in CLOCKS]
        return json.dumps({name: [repr(value) for value in table[name].to_pylist()] for name in columns}).encode()
    if path.suffix in (".npz", ".safetensors"):
        return arrays(path)
    return path.read_bytes()


def arrays(path: Path) -> bytes:
    """The names and values of a file's arrays."""
    try:
        loaded = load_file(path) if path.suffix != ".npz" else dict(np.load(path, allow_pickle=False))
    except SafetensorError:
        return path.read_bytes()
    return b"".join(name.encode() + loaded[name].tobytes() for name in sorted(loaded))
