"""What a user can get wrong is one line and exit code 2, before anything starts."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from ray_ue.cli.commands import COMMANDS, completion_script, parse_arguments
from ray_ue.cli.main import find_unreachable_store, main
from ray_ue.engine.errors import find_user_error

EVALUATE = ["evaluate", "{photos}", "--clean", "{photos}", "--test", "{photos}"]
WRONG = {
    "no such verb": (["protekt"], rf"no verb is called 'protekt'; did you mean 'protect'\? there are {', '.join(sorted(COMMANDS))}"),
    "no such flag": (["protect", "{photos}", "{out}", "--clutsers", "3"], "--clutsers.*--clusters"),
    "no number": (["protect", "{photos}", "{out}", "--clusters", "many"], "--clusters.*many"),
    "missing output": (["protect", "{photos}"], "protect needs OUTPUT; write for example"),
    "no such source": (["protect", "{photos}/nowhere", "{out}"], "there is no .*nowhere.*give an existing folder"),
    "empty source": (["protect", "{empty}", "{out}"], "holds no files"),
    "budget": (["protect", "{photos}", "{out}", "--budget", "0.05"], "write 12/255 or 13/255"),
    "budget of other parts": (["protect", "{photos}", "{out}", "--budget", "16/256"], "a channel has 255 steps; write 16/255"),
    "budget below a step": (["protect", "{photos}", "{out}", "--budget", "0.001"], "whole steps; write 1/255$"),
    "two unknown flags": (
        ["protect", "{photos}", "{out}", "--clutsers", "3", "--mehtod", "uc"],
        r"there is no --clutsers \(did you mean --clusters\?\); there is no --mehtod \(did you mean --method\?\)",
    ),
    "a glob": (["protect", "a.png", "b.png", "c.png", "d.png", "e.png"], "3 words too many, 'c.png' the first: .* name the folder instead"),
    "a word too many": (["methods", "bogus"], "'bogus' is one word too many; ray-ue methods --help lists the flags"),
    "method in capitals": (["protect", "{photos}", "{out}", "--method", "UC"], "did you mean 'uc'"),
    "settings with semicolons": (
        ["protect", "{photos}", "{out}", "--method", "em", "--settings", "rounds=3;batch=4"],
        "with commas, not with semicolons: rounds=3,batch=4",
    ),
    "setting without a value": (["protect", "{photos}", "{out}", "--method", "em", "--settings", "rounds"], "write NAME=VALUE"),
    "large seed": (["protect", "{photos}", "{out}", "--seed", "3000000000"], "--seed must be 2,147,483,647 or less, got 3000000000"),
    "endless rate": (["protect", "{photos}", "{out}", "--learning-rate", "inf"], "--learning-rate must be a finite number, got inf"),
    "negative seed": (["protect", "{photos}", "{out}", "--seed", "-1"], "--seed must be 0 or more, got -1"),
    "no number of a rate": (
        ["protect", "{photos}", "{out}", "--method", "uc", "--learning-rate", "nan"],
        "--learning-rate must be a finite number, got nan",
    ),
    "inside through a link": (["protect", "{photos}", "{link}/out"], "overlap: one contains the other"),
    "below a file": (["protect", "{photos}/captions.txt/x", "{out}"], "there is no .*captions.txt/x"),
    "one cluster": (["protect", "{photos}", "{out}", "--clusters", "1"], "use 2 or more"),
    "surrogate": (
        ["protect", "{photos}", "{out}", "--surrogate", "clip:RN50"],
        "surrogate.*is not understood; write timm:tf_efficientnet_lite0, open_clip:RN50/openai",
    ),
    "surrogate file": (["protect", "{photos}", "{out}", "--surrogate", "open_clip:RN50@/nowhere.pt"], "no weights file /nowhere.pt"),
    "weights without a network": (
        ["protect", "{photos}", "{out}", "--surrogate", "torchvision:resnet18"],
        "could not fetch.*give a downloaded",
    ),
    "aim": (["protect", "{photos}", "{out}", "--aim", "nearest"], "no aim is called 'nearest'; .*there are farthest, random, shift"),
    "method": (["protect", "{photos}", "{out}", "--method", "magic"], "no method is called 'magic'"),
    "setting": (["protect", "{photos}", "{out}", "--method", "mi-ue", "--settings", "epoch=3"], "did you mean 'epochs'"),
    "flag of another method": (["protect", "{photos}", "{out}", "--method", "cuda", "--steps", "3"], "--steps is no setting of cuda"),
    "network": (["protect", "{photos}", "{out}", "--method", "em", "--settings", "network=resnet19"], "did you mean 'resnet18'"),
    "tries without other labels": (
        ["protect", "{photos}", "{out}", "--settings", "tries=6"],
        "texture trains small networks to compare its choices, on labels that are not its clusters; say --also-clusters 10",
    ),
    "several numbers of clusters": (
        ["protect", "{photos}", "{out}", "--method", "uc", "--also-clusters", "20"],
        "works with texture, mi-ue, em, rem, sem; --method uc uses one clustering",
    ),
    "several numbers of clusters for tap": (
        ["protect", "{photos}", "{out}", "--method", "tap", "--also-clusters", "20"],
        "--method tap uses one clustering",
    ),
    "more workers than one": (
        ["protect", "{photos}", "{out}", "--method", "gue", "--workers", "2"],
        "gue compares all rows of a batch in one place; ask for --workers 1, got 2",
    ),
    "numbers of clusters": (["protect", "{photos}", "{out}", "--method", "em", "--also-clusters", "20,x"], "list of numbers.*got 'x'"),
    "clusters of labels": (
        ["protect", "{photos}", "{out}", "--method", "em", "--groups", "label", "--also-clusters", "20"],
        "--also-clusters needs --groups kmeans",
    ),
    "centres of labels": (
        ["protect", "{photos}", "{out}", "--method", "tap", "--groups", "label", "--aim", "farthest"],
        "--aim farthest needs group centres.*use --aim shift or random",
    ),
    "concepts without a file": (["protect", "{photos}", "{out}", "--method", "concept"], "--settings concepts=FILE"),
    "given without a file": (["protect", "{photos}", "{out}", "--method", "given"], "--settings file=PATH"),
    "nothing to take": (["perturbations", "{empty}", "{out}"], "cannot be checked; name a folder that ray-ue protect wrote"),
    "strength": (["protect", "{photos}", "{out}", "--strength", "strong"], "write 16, 16/255, 0.0627, low, mid or high"),
    "preview of none": (["protect", "{photos}", "{out}", "--preview", "-1"], "--preview shows 1 to 60 images, got -1"),
    "threads": (["protect", "{photos}", "{out}", "--cpus-per-task", "-3"], "--cpus-per-task is a number of threads, or 0 .*got -3"),
    "private folder": (
        ["protect", "{photos}.ray-ue/", "{out}"],
        r"is the private work folder of .*; name a folder of images",
    ),
    "preview of too many": (["protect", "{photos}", "{out}", "--preview", "61"], "--preview shows 1 to 60 images, got 61; 12 fill a page"),
    "sweep tested on its source": (
        ["sweep", "{photos}", "{out}", "--test", "{link}", "--vary", "budget=8,16", "--dry-run"],
        "holds the very images that victims train on",
    ),
    "preview on a store": (
        ["protect", "{photos}", "memory://out", "--preview", "3"],
        "is no local folder; name a local one for the preview",
    ),
    "shell": (["completion", "fish"], "shell is one of 'bash', 'zsh', got 'fish'"),
    "image format": (["protect", "{photos}", "{out}", "--image-format", "bmp"], "no image format is called 'bmp'"),
    "fraction": (["protect", "{photos}", "{out}", "--max-rejected", "5"], "fraction from 0 to 1"),
    "nothing named": (["protect"], "protect needs SOURCE and OUTPUT; write for example: ray-ue protect photos/"),
    "no whole number": (["protect", "{photos}", "{out}", "--resize", "1e3"], "--resize is a whole number, got '1e3'"),
    "no rate": (["protect", "{photos}", "{out}", "--learning-rate", "abc"], "--learning-rate is a number, got 'abc'"),
    "no choice": (["protect", "{photos}", "{out}", "--per", "foo"], "--per is one of 'auto', 'group', 'image', got 'foo'"),
    "no value": (["evaluate", "{photos}", "--seeds"], "--seeds needs a value"),
    "workers": (["protect", "{photos}", "{out}", "--workers", "many"], "--workers is a number"),
    "foreign output": (
        ["protect", "{photos}", "{foreign}"],
        r"is not empty, and .*\.ray-ue does not lie beside it: put that back",
    ),
    "inside": (["protect", "{photos}", "{photos}/out"], "overlap: one contains the other"),
    "same": (["protect", "{photos}", "{photos}"], "overlap: one contains the other"),
    "below a device": (["protect", "{photos}", "/dev/null/out"], "/dev/null/out lies below a file, where no folder can be"),
    "long name": (["protect", "{photos}", "{out}" + 300 * "x"], "cannot be an output: File name too long; name another one"),
    "private": (
        ["protect", "{photos}", "{out}.ray-ue/copy"],
        "out.ray-ue/copy lies in .*out.ray-ue: folders of this name hold what undoes",
    ),
    "no bucket": (["protect", "{photos}", "s3://"], "'s3://' names no bucket; write for example s3://bucket/photos"),
    "large squares": (["protect", "{photos}", "{out}", "--resize", "99999999"], "--resize 99999999 makes more pixels than --max-pixels"),
    "unwritable": (["protect", "{photos}", "/proc/nowhere/out"], "cannot write to /proc/nowhere"),
    "no copy": (["evaluate", "--test", "{photos}"], "name at least one protected copy|[Cc]opies.*required|required.*[Cc]opies"),
    "no test set": (["evaluate", "{photos}", "--clean", "{photos}"], "--test"),
    "empty test name": (["evaluate", "{photos}", "--clean", "{photos}", "--test", ""], "--test is missing: accuracy is measured on clean"),
    "no clean images": (["evaluate", "{photos}", "--test", "{photos}"], "--clean is missing and .*photos.ray-ue, which would name"),
    "no such copy": ([*EVALUATE[:1], "{photos}/nowhere", *EVALUATE[2:]], "there is no .*nowhere"),
    "no such test set": ([*EVALUATE, "--test", "{photos}/nowhere"], "there is no .*nowhere"),
    "purified of two": (
        ["evaluate", "{photos}", "{photos}/cats", *EVALUATE[2:], "--purified", "{photos}/dogs"],
        "--purified needs one protected copy, the one that was purified; 2 are named",
    ),
    "no such purified folder": ([*EVALUATE, "--purified", "{photos}/nowhere"], "there is no .*nowhere"),
    "victim": ([*EVALUATE, "--victims", "fast,resnet19"], r"no victim is called 'resnet19'; did you mean 'resnet18'\?"),
    "defense": ([*EVALUATE, "--defenses", "none,grayscal"], r"no defense is called 'grayscal'; did you mean 'grayscale'\?"),
    "defense value": ([*EVALUATE, "--defenses", "jpeg:200"], "jpeg: the JPEG quality is a whole number from 1 to 95, got 200"),
    "relabel": ([*EVALUATE, "--relabels", "identiti"], r"no relabel is called 'identiti'; did you mean 'identity'\?"),
    "texts": ([*EVALUATE, "--texts", "torchvision:resnet18"], "has no text encoder; write for example open_clip"),
    "training": ([*EVALUATE, "--training", "slow"], "no way of training .* is called 'slow'; there are auto, best, fast, paper"),
    "evaluate flag": ([*EVALUATE, "--victim", "fast"], "--victim.*--victims"),
    "share of a GPU": ([*EVALUATE, "--gpus-per-victim", "0"], "--gpus-per-victim is above 0 and at most 8, got 0"),
    "foreign results": ([*EVALUATE, "--results", "{foreign}"], "is not empty and holds no evaluation; name a new folder with --results"),
    "results in the copy": (
        [*EVALUATE, "--results", "{photos}/results"],
        "overlap: one contains the other; write the results to a folder of their own",
    ),
    "results in the copy through a link": (
        [*EVALUATE, "--results", "{link}/results"],
        "overlap: one contains the other; write the results to a folder of their own",
    ),
    "results in the copy through a detour": (
        [*EVALUATE, "--results", "{empty}/../photos/results"],
        "overlap: one contains the other; write the results to a folder of their own",
    ),
    "nothing to report": (["report", "{empty}"], "holds no results.parquet; name a folder that ray-ue evaluate or sweep wrote"),
    "nothing to measure": (["measure", "{empty}"], "holds no results.parquet; name a folder that ray-ue evaluate wrote"),
    "no run to measure": (["measure"], "name at least one run|[Rr]uns.*required|required.*[Rr]uns"),
    "measure flag": (["measure", "{empty}", "--estimator", "knn"], "--estimator.*--estimators"),
    "nothing to verify": (["verify", "{empty}"], "cannot be checked; name a folder that ray-ue protect wrote"),
}


def no_network(*arguments: object, **named: object) -> None:
    raise OSError("Name or service not known")


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_request_is_one_line_and_exit_code_2(case: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    places = {name: tmp_path / name for name in ("out", "empty", "foreign")} | {"photos": photos}
    places["empty"].mkdir()
    places["foreign"].mkdir()
    (places["foreign"] / "thesis.txt").write_text("mine")
    places["link"] = tmp_path / "link"
    places["link"].symlink_to(photos)
    words, phrase = WRONG[case]
    assert main([word.format(**places) for word in words]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert told.startswith("ray-ue: ")
    assert re.search(phrase, told), told
    assert not places["out"].exists()
    assert not photos.with_name("photos.evaluation").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["verify", "{none}"],
        ["perturbations", "{none}", "{out}.npy"],
        ["convert", "{none}", "{out}.npz"],
        ["convert", "{photos}", "{out}.jpg"],
        ["leaderboard", "add", "{none}", "--board", "{out}"],
        ["report", "{photos}"],
    ],
    ids=" ".join,
)
def test_a_dry_run_refuses_what_the_run_would(words: list[str], photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    filled = [word.format(none=tmp_path / "none", out=tmp_path / "out", photos=photos) for word in words]
    assert main(filled) == 2
    told = capsys.readouterr().err
    assert main([*filled, "--dry-run"]) == 2
    assert capsys.readouterr().err == told
    assert told.count("\n") == 1
    assert not list(tmp_path.glob("out*"))


def test_a_second_picture_in_the_place_of_the_output_is_told_as_a_file(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = sorted(photos.rglob("*.png"))[:2]
    before = second.read_bytes()
    assert main(["protect", str(first), str(second), "--method", "noise", "--workers", "local"]) == 2
    assert f"{second} is a file, and the copy is a folder; name a folder that is not there yet" in capsys.readouterr().err
    assert second.read_bytes() == before


def test_a_dry_run_of_an_evaluation_counts_its_cells_and_writes_nothing(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word.format(photos=photos) for word in EVALUATE[:-1]] + [str(photos / "cats")]
    assert main([*words, "--victims", "fast,linear", "--seeds", "2", "--clean-fraction", "0.5", "--epochs", "3", "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "2 victims x 3 relabels x 4 defenses x 2 seeds = 48 cells per copy" in told
    assert "96 protected, 144 controls" in told
    assert "3 epochs, batch 100" in told
    assert f"results    {photos}.evaluation" in told
    assert "contrastive" not in told
    assert re.search(r"time +about \d+:\d\d for the victims, which see \d+x\d+ pixels", told)
    assert main([*words, "--victims", "simclr:fast", "--relabels", "identity", "--defenses", "none", "--dry-run"]) == 0
    assert "contrastive victims make no supervised steps" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos"]


@pytest.mark.parametrize("verb", COMMANDS)
def test_help_of_a_verb_shows_its_example_and_the_names_of_what_it_takes(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([verb, "--help"])
    assert stop.value.code == 0
    plain = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert f"example: {COMMANDS[verb].example}" in plain
    assert f"ray-ue {verb}" in COMMANDS[verb].example
    assert "STR STR" not in plain
    wanted = {
        "protect": ("SOURCE", "OUTPUT", "--budget", "--strength", "--preview"),
        "evaluate": ("COPY", "--test", "--victims", "--relabels", "--defenses", "--purified", "--dry-run"),
        "measure": ("RUN", "--victims", "--estimators", "--slices", "--mine-steps", "--layers"),
        "report": ("RUN",),
        "completion": ("bash", "zsh"),
    }
    assert all(word in plain for word in wanted.get(verb, ()))


@pytest.mark.parametrize("verb", COMMANDS)
def test_every_example_is_a_line_that_can_be_parsed(verb: str) -> None:
    words = shlex.split(COMMANDS[verb].example.partition(" > ")[0])
    assert words[:2] == ["ray-ue", verb]
    assert type(parse_arguments(verb, words[2:])) is COMMANDS[verb].kind


def test_a_field_that_is_none_of_the_grids_is_named() -> None:
    from ray_ue.pipelines.evaluate import evaluate

    with pytest.raises(
        ValueError, match="no field of an evaluation is called 'victim'; did you mean 'victims'\\? there are victims, relabels"
    ):
        evaluate("out", test="test", victim="fast")


def test_a_dry_run_prints_the_plan_and_writes_nothing(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(
            ["protect", str(photos), str(tmp_path / "out"), "--method", "uc", "--surrogate", "ssl:small", "--budget", "0.0314", "--dry-run"]
        )
        == 0
    )
    told = capsys.readouterr().out
    assert "rows  60" in told
    assert "8/255 (8 levels" in told
    assert "images/s through small and back, measured now" in told
    assert "crafting about" in told
    assert "per worker for 100 images at once" in told
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos"]


def test_what_a_plan_cannot_count_it_calls_a_least(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "protect",
        str(photos),
        str(tmp_path / "out"),
        "--method",
        "uc",
        "--surrogate",
        "ssl:small",
        "--settings",
        "parameterization=generator",
        "--dry-run",
    ]
    assert main(words) == 0
    told = capsys.readouterr().out
    assert "crafting at least" in told
    assert "measured now, without the generators" in told


def test_a_dry_run_of_a_method_that_trains_tells_what_it_takes(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["protect", str(photos), str(tmp_path / "out"), "--method", "mi-ue", "--groups", "label", "--settings", "network=mlp2,epochs=5"]
    assert main([*words, "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "crafting takes 3,300 image passes" in told  # 5 epochs of one training pass and ten steps over 60 images
    assert "images/s through mlp2 and back, measured now" in told
    assert "per worker for 60 images at once" in told
    assert "not used by this method" in told
    assert main(["protect", str(photos), str(tmp_path / "out"), "--method", "cuda", "--groups", "label", "--dry-run"]) == 0
    assert "it keeps no budget" in capsys.readouterr().out


def test_the_list_of_methods_names_every_setting_with_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    from ray_ue.methods import METHODS, settings_of

    assert main(["methods"]) == 0
    told = capsys.readouterr().out
    for name, method in METHODS.items():
        assert f"\n{name}  (one perturbation per " in "\n" + told
        assert all(f"{key}={field.default}" in told for key, field in settings_of(method).items())


def test_help_names_every_verb_and_fits_a_screen(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(any(line.startswith(f"  {verb} ") for line in lines) for verb in COMMANDS)
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80


def test_the_versions_of_what_shapes_a_result_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    told = dict(line.split(" ") for line in capsys.readouterr().out.splitlines())
    assert {"ray-ue", "ray", "torch", "torchvision", "open_clip_torch", "pyarrow"} <= told.keys()
    assert any(name.startswith("faiss-") for name in told)
    assert told["ray-ue"] == version("ray-ue")


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        (["ray-ue", "swee"], {"sweep"}),
        (["ray-ue", "protect", "in", "out", "--clus"], {"--clusters"}),
        (["ray-ue", "protect", "in", "out", "--groups", ""], {"kmeans", "label"}),
        (["ray-ue", "sweep", "in", "out", "--evaluate.vic"], {"--evaluate.victims"}),
    ],
)
def test_bash_completes_verbs_flags_and_values(line: list[str], wanted: set[str], script: Path) -> None:
    words = " ".join(map(shlex.quote, line))
    asked = f"""
        source {shlex.quote(str(script))}
        COMP_WORDS=({words}); COMP_CWORD={len(line) - 1}; COMPREPLY=()
        $(complete -p ray-ue | sed 's/.*-F \\([^ ]*\\) .*/\\1/')
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, check=True, timeout=60)
    assert set(done.stdout.split()) == wanted, done.stderr


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("bash") is None:
        pytest.skip("bash is not installed")
    path = tmp_path_factory.mktemp("completion") / "ray-ue"
    path.write_text(completion_script("bash"))
    return path


def test_every_shell_has_a_script_that_names_every_verb() -> None:
    for shell in ("bash", "zsh"):
        told = completion_script(shell)
        assert all(verb in told for verb in COMMANDS)


def test_a_disk_that_cannot_hold_the_copy_is_refused_before_anything_starts(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ray_ue.storage.artifacts.Folder.free_bytes", lambda folder: 2.0**10)
    assert main(["protect", str(photos), str(tmp_path / "out")]) == 2
    assert "0.0 MiB are free; free some room" in capsys.readouterr().err


def test_a_store_that_does_not_answer_is_found_though_its_client_said_no_such_file(monkeypatch: pytest.MonkeyPatch) -> None:
    s3fs = pytest.importorskip("s3fs", reason="s3fs is not installed")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    s3fs.S3FileSystem.clear_instance_cache()
    try:
        assert "does not answer" in str(find_user_error(find_unreachable_store(["protect", "/here/photos", "s3://bucket/copy"])))
        assert "does not answer" in str(find_user_error(find_unreachable_store(["evaluate", "/here/photos", "--results=s3://bucket/a"])))
    finally:
        s3fs.S3FileSystem.clear_instance_cache()
    assert find_unreachable_store(["protect", "/here/photos", "memory://copy", "--clusters=3", "file:///nowhere"]) is None


def test_two_pictures_in_the_place_of_a_folder_are_told_as_a_pattern(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = map(str, sorted(photos.rglob("*.png"))[:2])
    assert main(["protect", first, second, "out", "--dry-run"]) == 2
    assert "1 word too many, 'out' the first: the shell has put files in the place of a pattern" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
@pytest.mark.parametrize("word", ["--version", "--help", "methods"])
def test_what_is_printed_to_a_full_disk_or_to_nobody_ends_without_a_traceback(word: str) -> None:
    command = [sys.executable, "-m", "ray_ue", word]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=120)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("ray-ue: No space left on device")
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=120)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")
