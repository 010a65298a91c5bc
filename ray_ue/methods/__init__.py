"""Methods that craft perturbations, one file each, and the table that names them."""

import sys
from collections.abc import Mapping
from dataclasses import Field as Setting
from dataclasses import fields
from difflib import get_close_matches
from typing import Any, cast

from ray_ue.methods.ar import AR
from ray_ue.methods.base import Method, Per, View, by_group
from ray_ue.methods.concept import Concept
from ray_ue.methods.cuda import CUDA
from ray_ue.methods.em import EM
from ray_ue.methods.field import Field
from ray_ue.methods.given import GivenPerturbation
from ray_ue.methods.gue import GUE
from ray_ue.methods.lsp import LSP
from ray_ue.methods.mi_ue import MIUE
from ray_ue.methods.noise import RandomNoise
from ray_ue.methods.ops import OPS
from ray_ue.methods.pil import PIL
from ray_ue.methods.rem import REM, SEM
from ray_ue.methods.tap import TAP
from ray_ue.methods.texture import Texture
from ray_ue.methods.tue import TUE
from ray_ue.methods.uc import UC
from ray_ue.registry import pick
from ray_ue.storage.addresses import local_path

__all__ = [
    "AR", "CUDA", "EM", "GUE", "LSP", "METHODS", "MIUE", "OPS", "PIL", "REM", "SEM", "TAP", "TUE", "UC", "Concept", "Field",
    "GivenPerturbation", "Method", "Per", "RandomNoise", "Texture", "View", "build", "by_group", "describe", "rooted", "settings_of",
]  # fmt: skip

METHODS: dict[str, type[Method]] = {
    "uc": UC,
    "texture": Texture,
    "field": Field,
    "mi-ue": MIUE,
    "em": EM,
    "tap": TAP,
    "pil": PIL,
    "rem": REM,
    "sem": SEM,
    "tue": TUE,
    "gue": GUE,
    "lsp": LSP,
    "ar": AR,
    "ops": OPS,
    "cuda": CUDA,
    "concept": Concept,
    "noise": RandomNoise,
    "given": GivenPerturbation,
}
FLAGS = ("steps", "batch", "learning_rate")  # recipe fields that many methods have; 0 keeps the method's own
STYLES = ("parameterization", "data_scope", "loss", "augment")  # recipe fields with a value of their own


def settings_of(method: type[Method]) -> dict[str, Setting]:
    """A method's settings by name, with their types and defaults."""
    return {field.name: field for field in fields(cast(Any, method))}


def build(name: str, values: Mapping[str, object]) -> Method:
    """The method called `name` with what a recipe says: its flags where they are set, then `settings`, which win."""
    method = pick(METHODS, name, what="method")
    known = settings_of(method)
    if strange := [flag for flag in FLAGS if values.get(flag) and flag not in known]:
        raise ValueError(f"--{strange[0].replace('_', '-')} is no setting of {name}; it has {', '.join(known) or 'none'}")
    chosen = {flag: values[flag] for flag in FLAGS if values.get(flag)}
    chosen |= {style: values[style] for style in STYLES if style in known and style in values}
    for part in filter(None, (word.strip() for word in str(values.get("settings", "")).split(","))):
        key, equals, text = (word.strip() for word in part.partition("="))
        if not equals or key not in known:
            renamed = [setting for setting, field in known.items() if field.metadata.get("identity") == key]
            near = renamed or get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            divided = ", and divide settings with commas" if ";" in part else ""
            raise ValueError(f"--settings {part}: {hint}{name} has the settings {', '.join(known) or '(none)'}; write NAME=VALUE{divided}")
        if ";" in text and "=" in text:
            raise ValueError(f"--settings {part}: divide settings with commas, not with semicolons: {part.replace(';', ',')}")
        chosen[key] = _value(text, known[key], part=part)
    return method(**chosen)


def rooted(name: str, settings: str) -> str:
    """`settings` with absolute paths: workers run in folders of their own, and a second command may run in another one."""
    files = pick(METHODS, name, what="method").file_settings
    words = []
    for word in settings.split(","):
        key, equals, text = (side.strip() for side in word.partition("="))
        if equals and key in files and text:
            word = f"{key}={local_path(text)}"
            if "," in word:
                raise ValueError(f"--settings {word}: commas divide settings, so none may be in a path; move the file")
        words.append(word)
    return ",".join(words)


def describe() -> str:
    """Every method with its first line and its settings, for people."""
    lines = []
    for name, method in METHODS.items():
        about = (sys.modules[method.__module__].__doc__ or "").strip().splitlines()[0]
        settings = ", ".join(f"{key}={field.default}" for key, field in settings_of(method).items())
        bound = "" if method.keeps_budget else "; keeps no budget"
        lines.append(f"{name}  (one perturbation per {method.per}{bound})\n    {about}\n    settings: {settings or 'none'}")
    return "\n".join(lines)


def _value(text: str, field: Setting, *, part: str) -> object:
    if field.type is bool:
        if text.lower() not in ("true", "false"):
            raise ValueError(f"--settings {part}: write true or false")
        return text.lower() == "true"
    try:
        return cast(type, field.type)(text)
    except ValueError:
        raise ValueError(f"--settings {part}: {text!r} is no {cast(type, field.type).__name__}; the default is {field.default}") from None
