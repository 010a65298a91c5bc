"""The doctor finds what is wrong, says what to do, and leaves nothing behind."""

import re
import shutil
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from ray_ue.cli import doctor
from ray_ue.cli.doctor import Finding, format_finding
from ray_ue.cli.main import main


def looked(monkeypatch: pytest.MonkeyPatch, ray: Finding) -> None:
    monkeypatch.setattr(doctor, "check_ray", lambda: ray)


WELL = Finding(name="Ray", state="ok", result="started")


def test_every_look_tells_what_it_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked(monkeypatch, WELL)
    found = {finding.name: finding for finding in doctor.examine(str(tmp_path / "copies" / "new"))}
    assert set(found) == {
        *(
            "Python",
            "packages",
            "processors",
            "GPU",
            "Ray",
            "faiss",
            "timm weights",
            "open_clip weights",
            "torchvision weights",
            "disk",
            "writing",
        ),
        *("temporary", "shared memory", "open files"),
    }
    assert all(finding.result for finding in found.values())
    assert all(finding.advice for finding in found.values() if finding.state == "note")
    assert found["faiss"].state == found["writing"].state == "ok"
    assert not (tmp_path / "copies" / "new").exists()


def test_what_stands_in_the_way_is_marked_and_is_the_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    looked(monkeypatch, WELL)
    assert main(["doctor", str(tmp_path)]) == 0
    assert "ready" in capsys.readouterr().out
    (tmp_path / "file").write_text("mine")
    assert main(["doctor", str(tmp_path / "file")]) == 1
    told = capsys.readouterr().out
    assert "BAD  writing" in told
    assert "1 problem to fix" in told
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    ("there", "state", "told"),
    [("faiss-cpu", "note", "no faiss-gpu.*but faiss-cpu 1.9 in its place"), ("", "bad", "no faiss-gpu$|no faiss-gpu,")],
)
def test_another_faiss_is_a_note_and_none_a_problem(there: str, state: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from ray_ue import version

    def found(package: str) -> str:
        if package == there:
            return "1.9"
        if package.startswith("faiss"):
            raise version.PackageNotFoundError(package)
        return "1.0"

    monkeypatch.setattr(version, "version", found)
    monkeypatch.setattr(doctor, "FAISS", "faiss-gpu")
    monkeypatch.setattr(doctor, "PACKAGES", ("ray", "faiss-gpu", "torch"))
    packages = doctor.list_packages()
    assert packages.state == state
    assert re.search(told, packages.result), packages.result


def test_a_check_that_breaks_is_a_finding_and_the_rest_goes_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    looked(monkeypatch, WELL)

    def broken() -> Finding:
        raise OSError("the disk is\nfull")

    monkeypatch.setattr(doctor, "check_faiss", broken)
    found = {finding.name: finding for finding in doctor.examine(str(tmp_path))}
    assert (found["faiss"].state, found["faiss"].result) == ("bad", "OSError: the disk is full")
    assert found["open files"].result


def test_a_ray_that_does_not_start_is_told_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray_ue.engine import session

    def refuse() -> None:
        raise ConnectionError("no head\nanswers there")

    monkeypatch.setattr(session, "answers", refuse)
    monkeypatch.setenv("RAY_ADDRESS", "ray-head:6379")
    found = doctor.check_ray()
    assert (found.state, found.result) == ("bad", "no head answers there")
    assert "RAY_ADDRESS is 'ray-head:6379': is the head running" in format_finding(found)


def test_a_ray_that_never_starts_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    from ray_ue.engine.local_ray import start_local

    def slow(**asked: object) -> None:
        tries.append(asked)
        raise Exception("The current node timed out during startup. This could happen because some of the raylet failed to startup.")

    tries: list[object] = []
    monkeypatch.setattr(ray, "init", slow)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    with pytest.raises(ValueError, match=r"did not start in 3 tries.*ray-ue doctor"):
        start_local(2)
    assert len(tries) == 3


def test_a_faiss_that_puts_points_anywhere_is_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray_ue.grouping import kmeans

    honest = kmeans.KMeans.fit
    monkeypatch.setattr(kmeans.KMeans, "fit", lambda self, vectors: honest(self, vectors) + 5)
    assert doctor.check_faiss().state == "bad"


def test_weights_in_the_cache_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import torch
    import torchvision

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    assert doctor.check_weights("torchvision").state == "note"
    (tmp_path / "checkpoints").mkdir()
    name = Path(torchvision.models.ResNet18_Weights.IMAGENET1K_V1.url).name
    (tmp_path / "checkpoints" / name).write_bytes(b"weights")
    found = doctor.check_weights("torchvision")
    assert (found.state, found.result) == ("ok", f"1 in {tmp_path}/checkpoints: resnet18/IMAGENET1K_V1")


def test_little_room_is_a_note_with_a_way_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    usage = namedtuple("usage", "total used free")
    for free, state in ((3 * 2**20, "bad"), (2**30, "note"), (2**34, "ok")):
        monkeypatch.setattr(shutil, "disk_usage", lambda place, free=free: usage(total=2**35, used=0, free=free))
        disk, temporary = doctor.check_disk(str(tmp_path)), doctor.check_temporary_folder()
        assert (disk.state, temporary.state) == (state, state)
        if state != "ok":
            assert "--image-format webp" in format_finding(disk)
            assert "RAY_TMPDIR" in format_finding(temporary)
        assert "3.0 MiB free" in disk.result or state != "bad"


@pytest.mark.ray
def test_ray_runs_a_task(ray_session: None) -> None:
    found = doctor.check_ray()
    assert found.state == "ok", found.result
    assert "core" in found.result


def test_clip_weights_in_the_cache_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray_ue.models.pretrained import open_clip

    here, _ = open_clip._clip_names("RN50", "openai")
    monkeypatch.setattr(open_clip, "try_to_load_from_cache", lambda repository, name: "/cache/file" if repository == here else None)
    found = doctor.check_weights("open_clip")
    assert found.state == "ok"
    assert "RN50/openai" in found.result
    assert "ViT-L-14" not in found.result


def test_the_temporary_folder_is_that_of_ray_though_it_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python takes another folder where TMPDIR cannot be written to, and Ray does not."""
    monkeypatch.setenv("TMPDIR", str(tmp_path / "not yet"))
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    assert doctor.check_temporary_folder().result.endswith(f"GiB free in {tmp_path}")


def test_a_faiss_that_cannot_be_imported_is_told_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    found = doctor.check_faiss()
    assert (found.state, found.advice) == ("bad", "install it: pip install faiss-cpu")
