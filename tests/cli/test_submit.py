"""What a Ray job would be told: the line a shell reads back, the upload as Ray itself packs it, and what nodes must see."""

import shlex
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from ray_ue import version
from ray_ue.cli import submit
from ray_ue.cli.submit import check_upload, describe_submission, head_address, path_warnings, submit_line

ROOT = Path(__file__).parents[2]
TREE = {
    ".gitignore": "*.log\n/build/\ndata/\n!keep.log\n# a comment\n\n",
    ".rayignore": "*.tar\nbig-[0-9].bin\nsecret/**/key\n",
    "ray_ue/__init__.py": "",
    "ray_ue/core.py": "x = 1\n",
    "jobs/protect.py": "pass\n",
    "a.log": "left out",
    "keep.log": "kept again",
    "build/made.txt": "left out",
    "ray_ue/build/made.txt": "kept: only /build is named",
    "data/photo.png": "left out",
    "images/photo.png": "kept",
    "images/.rayignore": "photo-?.png\n",
    "images/photo-1.png": "left out",
    "images/photo-10.png": "kept",
    "shard.tar": "left out",
    "big-7.bin": "left out",
    "big-x.bin": "kept",
    "secret/one/two/key": "left out",
    "secret/one/two/lock": "kept",
    ".git/config": "left out",
    ".venv/lib/torch.py": "left out",
    "ray_ue/__pycache__/core.pyc": "left out",
    "großes Bild.png": "kept",
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory, with the current one in it."""
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    root = tmp_path / "project"
    for name, text in TREE.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (root / "empty").mkdir()
    monkeypatch.chdir(root)
    return root


@pytest.mark.parametrize("ignored", [False, True])
def test_the_upload_is_what_ray_packs(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ignored: bool) -> None:
    from ray._private.ray_constants import RAY_RUNTIME_ENV_IGNORE_GITIGNORE, get_runtime_env_default_excludes
    from ray._private.runtime_env.packaging import create_package

    monkeypatch.setenv(RAY_RUNTIME_ENV_IGNORE_GITIGNORE, "1" if ignored else "0")
    package = tmp_path / "package.zip"
    create_package(str(project), package, include_gitignore=not ignored, excludes=get_runtime_env_default_excludes())
    found = check_upload(project)
    with zipfile.ZipFile(package) as packed:
        assert sorted(found.files) == sorted((info.filename, info.file_size) for info in packed.infolist())
    assert found.size == package.stat().st_size
    assert ("images/photo-10.png", 4) in found.files
    assert ("data/photo.png" in dict(found.files)) == ignored


def test_what_ray_leaves_out_by_itself_and_what_it_takes_are_ours(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ray._private import ray_constants

    assert ray_constants.RAY_RUNTIME_ENV_DEFAULT_EXCLUDES == submit.EXCLUDED
    assert ray_constants.DASHBOARD_CLIENT_MAX_SIZE == submit.LIMIT
    monkeypatch.setenv("RAY_OVERRIDE_RUNTIME_ENV_DEFAULT_EXCLUDES", "images")
    names = dict(check_upload(project).files)
    assert ".git/config" in names
    assert "images/photo.png" not in names


def test_an_upload_that_ray_refuses_is_named_with_its_largest_files(project: Path) -> None:
    for name, mebibytes in (("one.bin", 60), ("images/two.bin", 50), ("three.bin", 1), ("four.bin", 0)):
        with (project / name).open("wb") as file:
            file.truncate(mebibytes * 2**20)
    with pytest.raises(
        ValueError, match=r"is 111.0 MiB to upload and Ray accepts at most 100.0 MiB; the largest files are one.bin \(60.0 MiB\)"
    ):
        check_upload(project)
    told = describe_submission("protect", ["s3://b/in", "s3://b/out"], uris=["s3://b/in"], folder=project)
    assert "upload  refused: " in told
    assert "images/two.bin (50.0 MiB), three.bin (1.0 MiB): move data to storage that every node can read, or list it in .rayignore" in told
    assert "four.bin" not in told
    (project / ".rayignore").write_text("*.bin\n")
    assert check_upload(project).size < 10_000


def test_the_line_names_the_job_file_and_a_shell_reads_the_same_words_back(project: Path) -> None:
    words = ["s3://b/{00..11}.tar", "s3://b/o u t", "--budget", "16/255", "--settings", "network=fast,epochs=2", "--dry-run"]
    line = submit_line("protect", words, address="http://127.0.0.1:8265", folder=project)
    start = ["ray", "job", "submit", "--address", "http://127.0.0.1:8265", "--working-dir", ".", "--", "python", "jobs/protect.py"]
    assert shlex.split(line) == [*start, *words[:-1]]
    shell = subprocess.run(["bash", "-c", f"printf '%s\\n' {line}"], capture_output=True, text=True, check=True)
    assert shell.stdout.splitlines() == [*start, *words[:-1]]
    assert shlex.split(submit_line("verify", ["out"], address="http://h:1", folder=project))[-5:] == [
        "python",
        "-m",
        "ray_ue",
        "verify",
        "out",
    ]
    assert "--dry" not in submit_line("protect", ["in", "out", "--dry_run", "--no-dry-run"], address="http://h:1", folder=project)


def test_files_within_a_flag_become_absolute_too(project: Path) -> None:
    for name in ("delta.npy", "RN50.pt", "map.json"):
        (project / name).write_text("anything")
    words = ["s3://b/in", "s3://b/out", "--settings", "file=delta.npy,key=a", "--victims=fast,open_clip:RN50@RN50.pt", "--relabels"]
    told = describe_submission("protect", [*words, "identity,super:map.json,pseudo:10"], uris=words[:2], folder=project)
    assert shlex.split(told.splitlines()[0].removeprefix("   submit"))[-4:] == [
        f"file={project}/delta.npy,key=a",
        f"--victims=fast,open_clip:RN50@{project}/RN50.pt",
        "--relabels",
        f"identity,super:{project}/map.json,pseudo:10",
    ]


def test_places_in_a_list_become_absolute_too(project: Path) -> None:
    words = ["s3://b/out", "--purified=one,s3://b/two,../three", "--seeds", "3"]
    told = describe_submission("evaluate", words, uris=["s3://b/out", "one", "s3://b/two", "../three"], folder=project)
    line = shlex.split(told.splitlines()[0].removeprefix("   submit"))
    assert line[-3] == f"--purified={project}/one,s3://b/two,{project.parent}/three"


def test_a_folder_without_our_code_is_not_uploaded(tmp_path: Path) -> None:
    (tmp_path / "letters.txt").write_text("mine")
    told = describe_submission("protect", ["s3://b/in", "s3://b/out"], uris=["s3://b/in", "s3://b/out"], folder=tmp_path)
    assert "--working-dir" not in told
    assert "python -m ray_ue protect s3://b/in s3://b/out" in told
    assert "holds no ray_ue, so the nodes' image must have ray-ue installed" in told
    assert "every node must see" not in told


def test_local_paths_become_absolute_since_a_job_runs_elsewhere(project: Path) -> None:
    (project / "RN50.pt").write_text("weights")
    words = ["images", "../out", "--test=images", "--surrogate", "open_clip:RN50@RN50.pt", "--victims", "fast", "--seed", "3"]
    told = describe_submission("protect", words, uris=["images", "../out"], folder=project)
    line = shlex.split(told.splitlines()[0].removeprefix("   submit"))
    images, out = str(project / "images"), str(project.parent / "out")
    assert line[-9:] == [
        images,
        out,
        f"--test={images}",
        "--surrogate",
        f"open_clip:RN50@{project}/RN50.pt",
        "--victims",
        "fast",
        "--seed",
        "3",
    ]
    assert f"every node must see {images}, {out} under the same path" in told
    assert f"{images} would be uploaded with the code, which is not meant for images; keep images elsewhere" in told


def test_remarks_are_for_local_paths_alone(project: Path) -> None:
    assert path_warnings(["s3://b/in", "gs://b/out"], folder=project) == []
    assert len(path_warnings([str(project.parent / "photos"), "s3://b/out"], folder=project)) == 1
    assert len(path_warnings(["file://" + str(project / "images")], folder=project)) == 2


@pytest.mark.parametrize(
    ("environment", "address"),
    [
        ({}, "http://127.0.0.1:8265"),
        ({"RAY_ADDRESS": "10.0.0.1:6379"}, "http://127.0.0.1:8265"),
        ({"RAY_ADDRESS": "https://ray.example.com"}, "https://ray.example.com"),
        ({"RAY_ADDRESS": "https://ray.example.com", "RAY_API_SERVER_ADDRESS": "http://127.0.0.1:9000"}, "http://127.0.0.1:9000"),
    ],
)
def test_the_address_is_that_of_ray_job_submit(
    project: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], address: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert head_address() == address
    assert f"--address {address} " in describe_submission("protect", [], uris=[], folder=project)


def test_the_core_of_a_submission_imports_no_ray() -> None:
    code = "import sys, pathlib; from ray_ue.cli.submit import check_upload as u; u(pathlib.Path()); print('ray' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "False"


def test_this_project_is_uploaded_with_its_code_and_without_results() -> None:
    names = dict(check_upload(ROOT).files)
    assert {"ray_ue/cli/main.py", "jobs/protect.py", "jobs/smoke.py", "pyproject.toml"} <= names.keys()
    assert not [name for name in names if name.startswith(("bench-out", "demo-out", "docs/images", ".venv")) or name.endswith(".parquet")]


def test_our_version_needs_no_installed_package_and_is_written_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import PackageNotFoundError

    def nothing(package: str) -> str:
        raise PackageNotFoundError(package)

    monkeypatch.setattr(version, "version", nothing)
    assert version.installed("ray-ue") == version.VERSION
    with pytest.raises(PackageNotFoundError):
        version.installed("torch")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project.get("version", version.VERSION) == version.VERSION


def test_the_package_is_a_command_of_python() -> None:
    told = subprocess.run([sys.executable, "-m", "ray_ue", "--help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert told.startswith("usage: ray-ue VERB")
