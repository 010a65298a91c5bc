"""`Search`: the settings that a sweep tries, and in which order."""

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Annotated, Literal

from tyro.conf import UseAppendAction

from ray_ue.config.grid import split_list
from ray_ue.registry import unknown
from ray_ue.sweeps import space

LOGGERS = {"tensorboard": "tensorboardX", "mlflow": "mlflow"}


@dataclass(frozen=True, kw_only=True)
class Search:
    """The settings that a sweep tries, and the order."""

    vary: Annotated[tuple[str, ...], UseAppendAction] = ()
    """A recipe field and its values: --vary clusters=5,10,20 --vary budget=8,16; settings.NAME varies a method's own setting."""
    search: Literal["grid", "random", "optuna"] = "grid"
    """Try all combinations, a random part, or those that Optuna's sampler chooses from earlier results."""
    samples: int = 0
    """Number of settings for random and optuna."""
    stop_early: bool = False
    """Stop settings that protect less than others after a few seeds (ASHA)."""
    concurrent: int = 0
    """Settings tried concurrently; 0 takes one per GPU, or one per node without GPUs."""
    loggers: str = ""
    """Also log to tensorboard or mlflow, comma-separated, in OUTPUT/ray-tune or OUTPUT/mlruns."""

    def check(self) -> None:
        """Raise `ValueError` for values that cannot work; the error says what would have worked."""
        if not self.vary:
            raise ValueError("--vary is missing: name a field and its values, such as --vary clusters=5,10,20 --vary budget=8,16")
        space.parse_axes(self.vary)
        if (self.search == "grid") != (self.samples == 0):
            raise ValueError(
                "--search grid tries every combination; leave out --samples, or use --search random"
                if self.search == "grid"
                else f"--search {self.search} needs a number of settings: --samples 20"
            )
        if self.samples < 0 or self.concurrent < 0:
            raise ValueError(f"--samples and --concurrent are 0 or more, got {self.samples} and {self.concurrent}")
        for name in split_list(self.loggers):
            if name not in LOGGERS:
                raise unknown(name, tuple(LOGGERS), what="logger")
            refuse_absent(LOGGERS[name], flag=f"--loggers {name}")
        if self.search == "optuna":
            refuse_absent("optuna", flag="--search optuna")


def refuse_absent(package: str, *, flag: str) -> None:
    if find_spec(package) is None:
        raise ValueError(f"{flag} needs the package {package}, which is not installed; pip install {package}")
