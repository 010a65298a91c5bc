"""What is published: a wheel and an sdist with the code, its types and its licence, and nothing of the tests."""

import configparser
import tarfile
import tomllib
import zipfile
from importlib.metadata import EntryPoint
from pathlib import Path

import hatchling.build
import pytest
from packaging.metadata import Metadata

from ray_ue.version import VERSION

ROOT = Path(__file__).parents[2]
ABOUT = f"ray_ue-{VERSION}.dist-info"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The sdist, the wheel from this tree, and the wheel from the unpacked sdist; without network and without an environment of its own."""
    out = tmp_path_factory.mktemp("dist")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        sdist = out / hatchling.build.build_sdist(str(out))
        wheel = out / hatchling.build.build_wheel(str(out))
        with tarfile.open(sdist) as tar:
            tar.extractall(out / "unpacked", filter="data")
        patch.chdir(out / "unpacked" / f"ray_ue-{VERSION}")
        (again := out / "again").mkdir()
        return {"sdist": sdist, "wheel": wheel, "from sdist": again / hatchling.build.build_wheel(str(again))}


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as file:
        return {name: file.read(name) for name in file.namelist()}


def modules() -> set[str]:
    """Every file of the package in this tree."""
    found = (ROOT / "ray_ue").rglob("*")
    return {str(path.relative_to(ROOT)) for path in found if path.is_file() and "__pycache__" not in path.parts}


def test_the_wheel_holds_the_package_and_nothing_else(built: dict[str, Path]) -> None:
    names = contents(built["wheel"]).keys()
    assert {name for name in names if not name.startswith(f"{ABOUT}/")} == modules()
    pages = {f"ray_ue/report/templates/{name}" for name in ("page.html", "page.css", "page.js")}
    assert {"ray_ue/py.typed", f"{ABOUT}/licenses/LICENSE", *pages} <= names


def test_the_sdist_holds_what_builds_the_same_wheel(built: dict[str, Path]) -> None:
    with tarfile.open(built["sdist"]) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
    kept = {"README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff", "constraints.txt", "pyproject.toml", "PKG-INFO", ".gitignore"}
    assert names == modules() | kept
    assert contents(built["from sdist"]) == contents(built["wheel"])


def test_the_metadata_is_valid_and_what_pyproject_says(built: dict[str, Path]) -> None:
    told = Metadata.from_email(contents(built["wheel"])[f"{ABOUT}/METADATA"], validate=True)
    asked = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (told.name, str(told.version), told.license_expression) == ("ray-ue", VERSION, "Apache-2.0")
    assert str(told.requires_python) in (asked["requires-python"], ",".join(reversed(asked["requires-python"].split(","))))
    assert told.description == (ROOT / "README.md").read_text()
    assert len([need for need in told.requires_dist or [] if "extra ==" not in str(need)]) == len(asked["dependencies"])
    assert set(told.provides_extra or []) == set(asked["optional-dependencies"])
    assert not told.project_urls, "no address is known yet"
    assert "Typing :: Typed" in (told.classifiers or [])


def test_the_command_is_there_and_its_function_too(built: dict[str, Path]) -> None:
    scripts = configparser.ConfigParser()
    scripts.read_string(contents(built["wheel"])[f"{ABOUT}/entry_points.txt"].decode())
    assert dict(scripts["console_scripts"]) == {"ray-ue": "ray_ue.cli.start:run"}
    assert callable(EntryPoint(name="ray-ue", value=scripts["console_scripts"]["ray-ue"], group="console_scripts").load())
