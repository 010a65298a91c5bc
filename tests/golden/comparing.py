"""Digests of any value, and their comparison with what was recorded; it knows nothing of ray-ue.

Identities are compared everywhere. Computed values are compared where the machine and its packages are those that recorded them: another
processor or version adds floating-point numbers in another order. To record anew, after a change of results that CHANGELOG.md names:
remove `parts.json`, then `GOLDEN_RECORD=1 python -m pytest tests/golden`. To compare two commits on any other machine: the same with
`GOLDEN_FILE=/tmp/golden.json` on the first, then `GOLDEN_FILE=/tmp/golden.json python -m pytest tests/golden` on the second.
"""

import hashlib
import json
import os
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import faiss
import numpy as np
import pytest
import torch
from torch import Tensor

RECORD = Path(os.environ.get("GOLDEN_FILE") or Path(__file__).with_name("parts.json"))
PACKAGES = ("torch", "torchvision", "numpy", "scipy", "scikit-learn", "scikit-image", "pillow", "kornia", "open_clip_torch", "pyarrow")


def environment() -> dict[str, str]:
    """What the last bits of a computed value may depend on. One name may stand for several processors: libraries choose by their family,
    model and flags."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = (line.partition(":") for line in cpuinfo.read_text().splitlines()) if cpuinfo.exists() else ()
    facts = {name.strip(): value.strip() for name, _, value in lines}
    return {
        **{name: version(name) for name in PACKAGES},
        "faiss": faiss.__version__,
        "python": platform.python_version(),
        "processor": " ".join(facts.get(name, "") for name in ("model name", "cpu family", "model")).strip() or platform.processor(),
        "flags": digest(sorted(facts.get("flags", "").split())),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "cores": str(os.cpu_count()),
        "threads": str(torch.get_num_threads()),
    }


def digest(value: object) -> str:
    """16 hex digits of a value's sha256: arrays with dtype and shape, mappings by sorted key, numbers and texts exactly."""
    total = hashlib.sha256()
    _add(total, value)
    return total.hexdigest()[:16]


def _add(total: "hashlib._Hash", value: object) -> None:
    if isinstance(value, Tensor):
        value = value.detach().cpu().contiguous().numpy()
    if isinstance(value, np.ndarray):
        total.update(f"{value.dtype}{value.shape}".encode() + value.tobytes())
    elif isinstance(value, Mapping):
        for name in sorted(value):
            total.update(f"{name}=".encode())
            _add(total, value[name])
    elif isinstance(value, list | tuple):
        total.update(f"[{len(value)}".encode())
        for part in value:
            _add(total, part)
    elif isinstance(value, bytes):
        total.update(value)
    else:
        assert value is None or isinstance(value, str | int | float | np.generic), f"{type(value)} has no digest that lasts"
        total.update(repr(value.item() if isinstance(value, np.generic) else value).encode())


def compare(part: str, values: Mapping[str, str]) -> None:
    """Fail for a recorded value that is missing or has changed; new ones may join."""
    if recording():
        recorded = _recorded()
        if recorded.get("environment", environment()) != environment():
            raise ValueError(f"{RECORD.name} was recorded elsewhere; remove it, and record every part here")
        recorded |= {"environment": environment(), part: dict(values)}
        RECORD.write_text(json.dumps(recorded, indent=1, sort_keys=True) + "\n")
        return
    wanted = _recorded()[part]
    moved = [f"{name}: {wanted[name]} -> {values.get(name, 'missing')}" for name in wanted if values.get(name) != wanted[name]]
    assert not moved, f"{len(moved)} of {len(wanted)} values of {part} are not those that were recorded: {moved[:5]}"


def skip_elsewhere() -> None:
    """Skip a test of computed values on a machine that is not the one that recorded them."""
    if recording():
        return
    recorded, here = _recorded()["environment"], environment()
    if other := [f"{name} {recorded.get(name)}, here {here[name]}" for name in here if recorded.get(name) != here[name]]:
        pytest.skip(f"floating-point sums are compared only where they were recorded: {'; '.join(other)}")


def recording() -> bool:
    return bool(os.environ.get("GOLDEN_RECORD"))


def _recorded() -> dict[str, dict[str, str]]:
    return json.loads(RECORD.read_text()) if RECORD.exists() else {}
