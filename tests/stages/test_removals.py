"""What leaves a copy is told, and a source that is gone by mistake takes no copy with it."""

import shutil
from pathlib import Path

import pytest
from growing import LOCAL, OWN, run, write

from ray_ue.config.job import Job
from ray_ue.config.recipe import Recipe
from ray_ue.pipelines import protect as pipeline
from ray_ue.pipelines.planning import estimate, refuse_room, still_to_write
from ray_ue.pipelines.rehearsal import look, problems
from ray_ue.pipelines.standing import Standing
from ray_ue.storage.artifacts import Folder

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]

CATS = [f"cats/{number}.png" for number in range(6)]
DOGS = [f"dogs/{number}.png" for number in range(6)]


def planned(root: Path, source: str = "in", *, prune: bool = False, anew: bool = False) -> Job:
    return pipeline.plan(str(root / source), str(root / "out"), recipe=Recipe(**OWN), resources=LOCAL, prune=prune, anew=anew)


def published(root: Path) -> set[str]:
    return {str(path.relative_to(root / "out")) for path in (root / "out").rglob("*") if path.is_file()}


@pytest.mark.parametrize("how", ["prune", "anew"])
def test_a_folder_that_is_gone_by_mistake_takes_no_copy_with_it(how: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "in", [*CATS, *DOGS])
    run(tmp_path, **OWN)
    (tmp_path / "in/cats").rename(tmp_path / "unmounted")
    (tmp_path / "in/dogs/5.png").unlink()
    told = rf"7 of 12 files of the copy are no longer in {tmp_path}/in \(.*\), more than --max-gone 0.5 lets --{how} remove: .*--max-gone 1"
    job = planned(tmp_path, prune=how == "prune", anew=how == "anew")
    with pytest.raises(ValueError, match=told):
        Standing.of(job).refuse_gone(job)
    assert any("more than --max-gone 0.5" in problem for problem in problems(job, look(job)))
    assert "(made anew)" not in Standing.of(job).lines(job)["gone"]
    assert Standing.of(job).lines(job)["gone"].endswith("to be removed from the copy")
    with pytest.raises(ValueError, match=told):
        run(tmp_path, **OWN, prune=how == "prune", anew=how == "anew")
    assert published(tmp_path) == {*CATS, *DOGS}
    capsys.readouterr()
    run(tmp_path, **OWN, prune=how == "prune", anew=how == "anew", max_gone=1)
    assert published(tmp_path) == {*DOGS[:5]}
    assert not (tmp_path / "out/cats").exists()  # a class without an image stops who trains on the folder
    assert "7 files of the copy" in capsys.readouterr().err


def test_another_folder_does_not_replace_a_copy(tmp_path: Path) -> None:
    write(tmp_path / "in", CATS)
    run(tmp_path, **OWN)
    write(tmp_path / "wrong", DOGS, first=40)
    with pytest.raises(ValueError, match=r"6 of 6 files of the copy are no longer in \S+/wrong"):
        pipeline.protect(tmp_path / "wrong", tmp_path / "out", resources=LOCAL, **OWN, anew=True)
    job = planned(tmp_path, "wrong", anew=True)
    assert "is made anew from" in Standing.of(job).lines(job)["warning"]
    assert published(tmp_path) == {*CATS}


def test_a_carried_file_goes_by_the_name_that_it_has_in_the_copy(tmp_path: Path) -> None:
    """Its name in the source is bytes of an older system."""
    write(tmp_path / "in", CATS)
    caption = tmp_path / "in/cats" / b"caf\xe9.txt".decode("utf-8", "surrogateescape")
    caption.write_text("a cat in a café")
    run(tmp_path, **OWN)
    assert "cats/café.txt" in published(tmp_path)
    caption.unlink()
    run(tmp_path, **OWN, prune=True)
    assert published(tmp_path) == {*CATS}


@pytest.mark.parametrize("most", [-0.1, 1.5, float("nan")])
def test_the_part_that_may_go_is_a_fraction(most: float, tmp_path: Path) -> None:
    write(tmp_path / "in", CATS)
    with pytest.raises(ValueError, match="--max-gone is a part of the files from 0 to 1, got"):
        run(tmp_path, **OWN, max_gone=most)


def test_a_format_may_be_said_once_the_collection_needs_it(tmp_path: Path) -> None:
    write(tmp_path / "in", CATS)
    run(tmp_path, **OWN)
    (tmp_path / "in/backup.tar").write_bytes(b"")
    with pytest.raises(ValueError, match="say --format folder"):
        run(tmp_path, **OWN)
    write(tmp_path / "in", DOGS[:1], first=30)
    run(tmp_path, **OWN, format="folder")
    assert published(tmp_path) == {*CATS, DOGS[0]}


def test_what_joins_is_all_that_a_full_disk_must_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "in", CATS)
    run(tmp_path, **OWN)
    free = 0.0
    monkeypatch.setattr(Folder, "free_bytes", lambda _: free)
    refuse_room(planned(tmp_path))
    write(tmp_path / "in", ["cats/new.png"], first=50)
    with pytest.raises(ValueError, match="are free; free some room"):
        refuse_room(planned(tmp_path))
    whole = estimate(planned(tmp_path).source, recipe=planned(tmp_path).recipe)
    free = still_to_write(planned(tmp_path), whole.copy + whole.work)
    assert 0.05 < free / (whole.copy + whole.work) < 0.3  # a picture of seven
    refuse_room(planned(tmp_path))
    shutil.rmtree(tmp_path / "out")
    with pytest.raises(ValueError, match="are free; free some room"):
        refuse_room(planned(tmp_path))
