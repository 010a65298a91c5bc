"""Every run-time dependency has a line with its licence, and what is not permissive is named."""

import re
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools.licences import PAGE, Package, direct, needed, page

ROOT = Path(__file__).parents[2]
ASKED = direct(ROOT / "pyproject.toml")


def listed() -> dict[str, tuple[str, str]]:
    """(version, licence) by canonical name, from the table of all packages on the page."""
    whole = PAGE.read_text().partition("## All of them")[2]
    rows = re.findall(r"^\| \**([\w.-]+?)\** \| (\S+) \| (.+) \|$", whole, re.MULTILINE)
    return {canonicalize_name(name): (number, licence) for name, number, licence in rows if name != "package"}


def test_every_direct_dependency_is_on_the_page_with_a_version_and_a_licence() -> None:
    found = listed()
    for need in ASKED:
        name = canonicalize_name(need.name)
        if need.marker and not need.marker.evaluate({"sys_platform": "linux", "platform_machine": "x86_64"}):
            assert f"`{need}`" in PAGE.read_text()
            continue
        number, licence = found[name]
        assert need.specifier.contains(number), f"{name} {number} is older than pyproject.toml asks for: run python -m tools.licences"
        assert licence != "none named"


def test_the_versions_are_those_of_the_constraints() -> None:
    pinned = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split())
    found = listed()
    wrong = {name: (found[name][0], number) for name, number in pinned.items() if name in found and found[name][0] != number}
    assert not wrong, f"run python -m tools.licences: {wrong}"


def test_what_is_installed_is_on_the_page() -> None:
    """Also what nobody asked for directly; a machine of another kind may need less, not more."""
    missing = {name for name, package in needed(ASKED).items() if version(package.name) and name not in listed()}
    assert not missing, f"run python -m tools.licences: {missing}"


PERMISSIVE = ("MIT", "Apache-2.0 OR BSD-2-Clause", "BSD-3-Clause AND (MIT OR Zlib)", "Apache-2.0 WITH LLVM-exception", "PSF-2.0")
OTHERS = ("MPL-2.0 AND MIT", "LicenseRef-NVIDIA-Proprietary", "", "LGPL-2.1-or-later", "GPL-3.0-only")


@pytest.mark.parametrize("licence", [*PERMISSIVE, *OTHERS])
def test_permissive_is_what_asks_for_a_notice_alone(licence: str) -> None:
    assert Package(name="x", version="1", licence=licence, by="y").permissive == (licence in PERMISSIVE)


@pytest.mark.parametrize("licence", OTHERS)
def test_what_is_not_permissive_stands_in_a_table_of_its_own(licence: str) -> None:
    told = page({"x": Package(name="x", version="1", licence=licence, by="y")}, [Requirement("x")])
    above = told.partition("## All of them")[0]
    assert f"| x | 1 | y | {licence or 'none named'} | " in above


def test_a_package_that_is_not_installed_is_named() -> None:
    with pytest.raises(ValueError, match=r"no-such-package-at-all is not installed"):
        needed([Requirement("no-such-package-at-all")])
