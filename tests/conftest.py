"""Shapes are checked at test time, Ray starts once for the whole run, and real images are found or their tests skipped."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from jaxtyping import install_import_hook

install_import_hook("ray_ue", "typecheck.check")

from ray_ue.engine.environment import prepare  # noqa: E402 - after the hook, which only sees later imports
from ray_ue.images.codec import Picture, encode  # noqa: E402

settings.register_profile("unhurried", deadline=None)  # a busy machine is no fault of the code
settings.load_profile("unhurried")
prepare()
os.environ.setdefault("OMP_NUM_THREADS", "2")

SHARED = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def ray_session(store: str) -> Iterator[None]:
    """One local Ray for every test that needs one; its workers inherit the address of the object store."""
    from ray_ue.engine.session import session

    with session():
        yield


@pytest.fixture(scope="session")
def real_images() -> Path:
    """The folder with real images, outside the project."""
    if not SHARED.is_dir():
        pytest.skip(f"no real images beside the project ({SHARED.name} is absent)")
    return SHARED


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Shape checks off: what a user, who runs without them, gets for a wrong shape."""
    import jaxtyping

    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def photo(seed: int, *, height: int = 32, width: int = 32) -> np.ndarray:
    """A smooth random picture, uint8 `H W 3`; its colours depend on `seed % 5`, so that there is something to cluster."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    waves = [np.sin(2 * np.pi * (rng.uniform(0.5, 3) * x + rng.uniform(0.5, 3) * y + rng.uniform())) for _ in range(3)]
    tint = np.array([[200, 60, 60], [60, 200, 60], [60, 60, 200], [200, 200, 60], [128, 128, 128]])[seed % 5]
    return np.clip(np.stack(waves, 2) * 40 + tint + rng.normal(0, 4, (height, width, 3)), 0, 255).astype(np.uint8)


def image_bytes(seed: int, *, format: str = "png", height: int = 32, width: int = 32) -> bytes:
    """`photo` as a file."""
    return encode(Picture(rgb=photo(seed, height=height, width=width), alpha=None, exif=b"", icc=b""), format=format)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_photos(tmp_path / "photos")


def write_photos(root: Path) -> Path:
    """A folder of 60 pictures in three class folders, of several sizes and formats, with a caption file."""
    for number in range(60):
        format = ("png", "jpeg", "webp")[number % 3]
        name = f"{number:03d}." + {"png": "png", "jpeg": "jpg", "webp": "webp"}[format]
        path = root / ("cats", "dogs", "owls")[number % 3] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image_bytes(number, format=format, height=32 + number % 7, width=32 + number % 11))
    (root / "captions.txt").write_text("cats, dogs and owls\n")
    return root


CLASSES = ("cats", "dogs", "owls")


def write_classes(root: Path, numbers: range, *, flat: bool = False, side: int = 32) -> Path:
    """Pictures of three classes, which their colours tell apart."""
    for number in numbers:
        path = root / f"{number:03d}.png" if flat else root / CLASSES[number % 3] / f"{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        rgb = photo(5 * number + number % 3, height=side, width=side)
        path.write_bytes(encode(Picture(rgb=rgb, alpha=None, exif=b"", icc=b""), format="png"))
    return root


@pytest.fixture(scope="session")
def store() -> Iterator[str]:
    """The URI of a bucket; plain `s3://` URIs work, as they do for users who set the same variables."""
    server = pytest.importorskip("moto.server", reason="moto is not installed").ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    wanted = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    import s3fs

    fs = s3fs.S3FileSystem(skip_instance_cache=True)
    fs.mkdir("bucket")
    yield "s3://bucket"
    s3fs.S3FileSystem.clear_instance_cache()
    for name, value in before.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value
    server.stop()
