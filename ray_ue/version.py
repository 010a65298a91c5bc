"""The versions that a result names: ours, written here and nowhere else, and those of the packages it was made with."""

import platform
import sys
from importlib.metadata import version

FAISS = "faiss-gpu" if sys.platform == "linux" and platform.machine() == "x86_64" else "faiss-cpu"  # as pyproject.toml chooses
PACKAGES = ("ray-ue", "ray", "torch", "torchvision", "open_clip_torch", FAISS, "pyarrow", "numpy", "scikit-learn", "pillow")
VERSION = "0.1.0"  # pyproject.toml reads it from here


def installed(package: str) -> str:
    """The version of a package. Of ours it is that of the code which runs: a submitted job imports an uploaded folder, no package."""
    return VERSION if package == "ray-ue" else version(package)
