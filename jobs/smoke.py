"""Does this Ray cluster work? Writes pictures to storage that all nodes share, protects them, verifies the copy, names every node.

    ray job submit --address http://127.0.0.1:8265 --working-dir . -- python jobs/smoke.py s3://bucket/smoke   # or a folder that all mount
    python jobs/smoke.py                                                                                       # on one machine

Other flags are those of protect. It fails when a node does not see the pictures, or when the copy does not verify.

Hours:   meant to take under two minutes. Measured on one machine with two busy cores: see docs/clusters.md. On several nodes: not
         run.
Cost:    none worth naming, unless it makes the autoscaler start nodes: `--workers auto` asks for a GPU only where a node has one.
Result:  one line per node with its resources, and `the cluster works`.
"""

import sys
import tempfile

import numpy as np

from ray_ue.cli.main import main
from ray_ue.engine.environment import prepare
from ray_ue.images.codec import Picture, encode
from ray_ue.storage.artifacts import Folder
from ray_ue.version import installed

PICTURES, SIDE = 24, 32
DEFAULTS = ["--method", "uc", "--surrogate", "ssl:small", "--ssl-steps", "10", "--steps", "10", "--batch", "24", "--clusters", "3"]


def picture(number: int) -> bytes:
    """A PNG file: a wave in one of three colours, so that there is something to cluster."""
    rng = np.random.default_rng(number)
    wave = np.sin(np.arange(SIDE) / rng.uniform(1, 4))[:, None, None] * 40
    tint = np.array([[190, 60, 60], [60, 190, 60], [60, 60, 190]])[number % 3]
    rgb = (wave + tint + rng.normal(0, 4, (SIDE, SIDE, 3))).clip(0, 255).astype(np.uint8)
    return encode(Picture(rgb=rgb, alpha=None, exif=b"", icc=b""), format="png")


def look(uri: str) -> tuple[int, str]:
    """What a node sees: the number of pictures, and the version of our code."""
    return len(Folder.at(uri).names()), installed("ray-ue")


def nodes(uri: str) -> bool:
    """Print a line per node; whether all of them see the pictures at `uri`."""
    import ray

    alive = [node for node in ray.nodes() if node["Alive"]]
    asked = ray.remote(num_cpus=0)(look)
    answers = ray.get([asked.options(label_selector={"ray.io/node-id": node["NodeID"]}).remote(uri) for node in alive])
    for node, (seen, version) in zip(alive, answers, strict=True):
        has = node["Resources"]
        memory, store = (has.get(name, 0) / 2**30 for name in ("memory", "object_store_memory"))
        print(
            f"node {node['NodeManagerAddress']}  {has.get('CPU', 0):g} CPUs, {has.get('GPU', 0):g} GPUs, {memory:.1f} GiB memory, "
            f"{store:.1f} GiB object store; sees {seen} of {PICTURES} pictures, ray-ue {version}"
        )
    return all(seen == PICTURES for seen, _ in answers)


def run(asked: list[str]) -> int:
    """The exit code: 0, that of protect, or 1 when a node does not see what another wrote."""
    named = bool(asked) and not asked[0].startswith("--")
    place = Folder.at(asked[0] if named else tempfile.mkdtemp(prefix="ray-ue-smoke-"))
    photos = place.child("photos")
    for number in range(PICTURES):
        photos.write(f"{number:02d}.png", picture(number))
    if not nodes(photos.uri):
        print(f"{place.uri} is not the same folder on every node; name a shared folder or an object store: smoke.py s3://bucket/smoke")
        return 1
    code = main(["protect", photos.uri, place.child("copy").uri, *DEFAULTS, *asked[named:]])
    print("the cluster works" if code == 0 else "the cluster does not work: see the line above")
    return code


if __name__ == "__main__":
    prepare()
    from ray_ue.engine.session import session  # Ray reads its settings when it is imported

    with session():
        sys.exit(run(sys.argv[1:]))
