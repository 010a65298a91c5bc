"""The version of ray-ue, and the packages whose versions results record."""

import platform
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

FAISS = "faiss-gpu" if sys.platform == "linux" and platform.machine() == "x86_64" else "faiss-cpu"  # as pyproject.toml chooses
PACKAGES = ("ray-ue", "ray", "torch", "torchvision", "open_clip_torch", FAISS, "pyarrow", "numpy", "scikit-learn", "pillow")
ARTIFACT_PACKAGES = ("ray-ue", "ray", "torch", "torchvision", "open_clip_torch", "pillow", "pyarrow", "numpy")
VICTIM_PACKAGES = ("ray-ue", "ray", "torch", "torchvision", "numpy")
VERSION = "0.1.0"  # pyproject.toml reads it from here


def installed(package: str) -> str:
    """The version of a package. For ray-ue that of the running code, as a submitted job imports an uploaded folder, not a package."""
    return VERSION if package == "ray-ue" else version(package)


def installed_or_empty(package: str) -> str:
    """The same; empty where the package is not installed."""
    try:
        return installed(package)
    except PackageNotFoundError:
        return ""


def installed_versions(packages: Sequence[str]) -> dict[str, str]:
    """The versions by name; a `PackageNotFoundError` for one that is not installed."""
    return {package: installed(package) for package in packages}
