"""How to run a command as a Ray job: the command line that submits it, its upload, and warnings. It imports no Ray and submits nothing."""

import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pathspec import PathSpec
from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

from ray_ue.sources.storage import is_local, normal
from ray_ue.storage.addresses import local_path

LOCAL_DASHBOARD = "http://127.0.0.1:8265"  # the head's dashboard through an SSH tunnel or port-forward
# The largest upload to a head: DASHBOARD_CLIENT_MAX_SIZE of ray/_private/ray_constants.py, used by ray/dashboard/http_server_head.py.
# The 512 MiB of ray/_private/runtime_env/packaging.py apply to uploads by a driver, not to submitted jobs.
LIMIT = 100 * 2**20
EXCLUDED = ".git,.venv,venv,__pycache__"  # RAY_RUNTIME_ENV_DEFAULT_EXCLUDES of ray/_private/ray_constants.py
ZIP_ENTRY, ZIP_END = 76, 22  # bytes of ZIP headers per file, plus its name twice, and at the end
NAMED = 3  # files that an error message names

Ignored = Callable[[Path], bool]


@dataclass(frozen=True, kw_only=True)
class Upload:
    """The files that Ray packs from a working directory, as (name, bytes); the name of an empty folder ends in a slash."""

    files: tuple[tuple[str, int], ...]

    @property
    def size(self) -> int:
        """Bytes of the package, a ZIP file without compression."""
        return sum(size + ZIP_ENTRY + 2 * len(name.encode()) for name, size in self.files) + ZIP_END


def check_upload(folder: Path) -> Upload:
    """The upload of `ray job submit --working-dir FOLDER`; a `ValueError` names the largest files if it exceeds Ray's limit."""
    root = folder.absolute()
    defaults = os.environ.get("RAY_OVERRIDE_RUNTIME_ENV_DEFAULT_EXCLUDES", EXCLUDED).split(",")
    ignored = _ignore_patterns([line.strip() for line in defaults], root=root)
    upload = Upload(files=tuple(_uploaded_files(root, root=root, ignored=(ignored,))))
    if upload.size > LIMIT:
        files = sorted(upload.files, key=lambda file: -file[1])[:NAMED]
        largest = ", ".join(f"{name} ({_format_mib(size)})" for name, size in files)
        raise ValueError(
            f"{root} is {_format_mib(upload.size)} to upload and Ray accepts at most {_format_mib(LIMIT)}; the largest files "
            f"are {largest}: move data to storage that every node can read, or list it in .rayignore"
        )
    return upload


def submit_line(verb: str, words: Sequence[str], *, address: str, folder: Path) -> str:
    """The shell command that runs `ray-ue VERB WORDS` as a Ray job. A folder is uploaded only if it holds our code."""
    arguments = without_planning(words)
    job = Path("jobs", f"{verb}.py")
    call = [str(job)] if (folder / job).is_file() else ["-m", "ray_ue", verb]
    upload = ["--working-dir", "." if folder.absolute() == Path.cwd() else str(folder)] if holds_code(folder) else []
    return shlex.join(["ray", "job", "submit", "--address", address, *upload, "--", "python", *call, *arguments])


def without_planning(words: Sequence[str]) -> list[str]:
    """The words of the command without the flags that only plan."""
    kept: list[str] = []
    for place, word in enumerate(words):
        after_nodes = place > 0 and words[place - 1] == "--nodes"
        if after_nodes or word.replace("_", "-") in ("--dry-run", "--no-dry-run", "--nodes") or word.startswith("--nodes="):
            continue
        kept.append(word)
    return kept


def describe_submission(verb: str, words: Sequence[str], *, uris: Sequence[str], folder: Path) -> str:
    """How to run a command as a Ray job: the submit command, the upload or why Ray would refuse it, and warnings."""
    absolute = [_with_absolute_paths(word, uris=uris) for word in words]
    lines = [("submit", submit_line(verb, absolute, address=head_address(), folder=folder))]
    if not holds_code(folder):
        lines.append(("upload", f"nothing: {folder.absolute()} holds no ray_ue, so the nodes' image must have ray-ue installed"))
    else:
        try:
            upload = check_upload(folder)
            text = f"{len(upload.files):,} files, {_format_mib(upload.size)} of the {_format_mib(LIMIT)} that Ray accepts"
        except ValueError as error:
            text = f"refused: {error}"
        lines.append(("upload", text))
    lines += [("note", remark) for remark in path_warnings(uris, folder=folder)]
    return "\n".join(f"{name:>9}  {text}" for name, text in lines)


def path_warnings(uris: Sequence[str], *, folder: Path) -> list[str]:
    """Warnings about local paths: nodes may not see them, and data must not be uploaded with the code."""
    local_paths = list(dict.fromkeys(normal(uri) for uri in uris if is_local(uri)))
    inside = [path for path in local_paths if Path(path).is_relative_to(folder.absolute())]
    warnings = []
    if local_paths:
        warnings.append(
            f"every node must see {', '.join(local_paths)} under the same path, in a shared folder; "
            "without one, keep images on an object store and use URIs such as s3://bucket/photos"
        )
    if inside and holds_code(folder):
        warnings.append(
            f"{', '.join(inside)} would be uploaded with the code, which is not meant for images; "
            "keep images elsewhere, or list them in .rayignore"
        )
    return warnings


def head_address() -> str:
    """The dashboard that RAY_API_SERVER_ADDRESS or RAY_ADDRESS names, as for `ray job submit`, or a tunnel on this machine."""
    return next(
        (address for name in ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS") if (address := os.environ.get(name, "")).startswith("http")),
        LOCAL_DASHBOARD,
    )


def holds_code(folder: Path) -> bool:
    return (folder / "ray_ue" / "__init__.py").is_file()


def _with_absolute_paths(word: str, *, uris: Sequence[str]) -> str:
    """A word of the command line with absolute local paths, because a job runs in another folder."""
    flag, mark, value = word.partition("=") if word.startswith("--") else ("", "", word)
    known = {normal(uri) for uri in uris if is_local(uri)}

    def place(part: str) -> bool:
        return bool(part) and (not is_local(part) or normal(part) in known)

    if value and is_local(value) and normal(value) in known:  # a path may contain a comma
        return f"{flag}{mark}{normal(value)}"
    parts = value.split(",")
    if all(map(place, parts)):  # a victim may have the name of a folder
        return f"{flag}{mark}{','.join(normal(part) if is_local(part) else part for part in parts)}"
    return f"{flag}{mark}{','.join(map(_with_absolute_file, parts))}"


def _with_absolute_file(part: str) -> str:
    """An entry of a list: NAME@FILE, SETTING=FILE or super:FILE with an absolute path; other entries unchanged."""
    for sign in "@=:":
        kind, between, file = part.partition(sign)
        if between and file and local_path(file).is_file():
            return f"{kind}{sign}{normal(file)}"
    return part


def _uploaded_files(path: Path, *, root: Path, ignored: tuple[Ignored, ...]) -> Iterator[tuple[str, int]]:
    """Files below `path` that Ray packs: `_dir_travel` and `_zip_files` of ray/_private/runtime_env/packaging.py."""
    if path.is_dir():
        names = (".rayignore",) if os.environ.get("RAY_RUNTIME_ENV_IGNORE_GITIGNORE") == "1" else (".gitignore", ".rayignore")
        files = [path / name for name in names if (path / name).is_file()]
        ignored = (*ignored, *(_ignore_patterns(file.read_text().splitlines(), root=path) for file in files))
    if any(leaves_out(path) for leaves_out in ignored):
        return
    name = path.relative_to(root).as_posix()
    if path.is_file():
        yield name, path.stat().st_size
    elif path.is_dir():
        inside = sorted(path.iterdir())
        if not inside:
            yield f"{name}/", 0
        for child in inside:
            yield from _uploaded_files(child, root=root, ignored=ignored)


def _ignore_patterns(lines: Sequence[str], *, root: Path) -> Ignored:
    spec = PathSpec.from_lines(GitIgnoreSpecPattern, lines)
    return lambda path: spec.match_file(str(path.relative_to(root)))


def _format_mib(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"
