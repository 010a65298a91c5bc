"""The same work as a Ray job: the line that submits it, what it uploads, what every node must see. Submits nothing, imports no Ray."""

import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pathspec import PathSpec
from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

from ray_ue.sources.storage import is_local, normal

HERE = "http://127.0.0.1:8265"  # where an SSH tunnel or a port-forward puts the head's dashboard
# What a head takes in one upload: DASHBOARD_CLIENT_MAX_SIZE of ray/_private/ray_constants.py, which ray/dashboard/http_server_head.py
# sets. The 512 MiB of ray/_private/runtime_env/packaging.py hold where a driver uploads by itself; a submitted job never gets so far.
LIMIT = 100 * 2**20
EXCLUDED = ".git,.venv,venv,__pycache__"  # RAY_RUNTIME_ENV_DEFAULT_EXCLUDES of ray/_private/ray_constants.py
ZIP_ENTRY, ZIP_END = 76, 22  # bytes of ZIP headers per file, beside its name twice, and at the end
NAMED = 3  # files that a refusal names

Ignored = Callable[[Path], bool]


@dataclass(frozen=True, kw_only=True)
class Upload:
    """What Ray packs of a working directory: the (name, bytes) of each file; the name of an empty folder ends in a slash."""

    files: tuple[tuple[str, int], ...]

    @property
    def size(self) -> int:
        """Bytes of the package: a ZIP file, which Ray stores without compression."""
        return sum(size + ZIP_ENTRY + 2 * len(name.encode()) for name, size in self.files) + ZIP_END

    @property
    def largest(self) -> list[tuple[str, int]]:
        return sorted(self.files, key=lambda file: -file[1])[:NAMED]


def preflight(folder: Path) -> Upload:
    """What `ray job submit --working-dir FOLDER` uploads; a `ValueError` names the largest files when that is more than Ray takes."""
    root = folder.absolute()
    defaults = os.environ.get("RAY_OVERRIDE_RUNTIME_ENV_DEFAULT_EXCLUDES", EXCLUDED).split(",")
    found = Upload(files=tuple(_packed(root, root=root, ignored=(_ignoring([line.strip() for line in defaults], root=root),))))
    if found.size > LIMIT:
        named = ", ".join(f"{name} ({_mib(size)})" for name, size in found.largest)
        raise ValueError(
            f"{root} is {_mib(found.size)} to upload and Ray takes at most {_mib(LIMIT)}; its largest files are {named}: "
            "put data on storage that every node sees, or list it in .rayignore"
        )
    return found


def submit_line(verb: str, words: Sequence[str], *, address: str, folder: Path) -> str:
    """The shell line that does as a Ray job what `ray-ue VERB WORDS` does here. Only a folder that holds our code is uploaded."""
    kept = [word for word in words if word.replace("_", "-") not in ("--dry-run", "--no-dry-run")]
    job = Path("jobs", f"{verb}.py")
    call = [str(job)] if (folder / job).is_file() else ["-m", "ray_ue", verb]
    upload = ["--working-dir", "." if folder.absolute() == Path.cwd() else str(folder)] if holds_code(folder) else []
    return shlex.join(["ray", "job", "submit", "--address", address, *upload, "--", "python", *call, *kept])


def describe_submission(verb: str, words: Sequence[str], *, uris: Sequence[str], folder: Path) -> str:
    """How to run this as a Ray job, for people: the line, the upload or why it would be refused, and what to mind."""
    lines = [("submit", submit_line(verb, [_wherever(word, uris=uris) for word in words], address=head_address(), folder=folder))]
    if not holds_code(folder):
        lines.append(("upload", f"nothing: {folder.absolute()} holds no ray_ue, so the nodes' image must have ray-ue installed"))
    else:
        try:
            found = preflight(folder)
            lines.append(("upload", f"{len(found.files):,} files, {_mib(found.size)} of the {_mib(LIMIT)} that Ray takes"))
        except ValueError as error:
            lines.append(("upload", f"refused: {error}"))
    lines += [("note", remark) for remark in remarks(uris, folder=folder)]
    return "\n".join(f"{name:>9}  {text}" for name, text in lines)


def remarks(uris: Sequence[str], *, folder: Path) -> list[str]:
    """A sentence for what a submitted job does not do by itself with local paths: nodes that cannot see them, code that holds data."""
    here = list(dict.fromkeys(normal(uri) for uri in uris if is_local(uri)))
    inside = [path for path in here if Path(path).is_relative_to(folder.absolute())]
    told = []
    if here:
        told.append(
            f"every node must see {', '.join(here)} under the same path, in a shared folder; "
            "without one, keep images on an object store and give URIs such as s3://bucket/photos"
        )
    if inside and holds_code(folder):
        told.append(
            f"in the folder that is uploaded as code, which is no way to bring images to nodes: {', '.join(inside)}; "
            "keep images elsewhere, or list them in .rayignore"
        )
    return told


def head_address() -> str:
    """The head's dashboard: what RAY_API_SERVER_ADDRESS or RAY_ADDRESS names, as for `ray job submit`, else a tunnel on this machine."""
    return next(
        (found for name in ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS") if (found := os.environ.get(name, "")).startswith("http")), HERE
    )


def holds_code(folder: Path) -> bool:
    return (folder / "ray_ue" / "__init__.py").is_file()


def _wherever(word: str, *, uris: Sequence[str]) -> str:
    """A word of the command line as it must be in a job, which runs in another folder: with absolute local paths."""
    flag, mark, value = word.partition("=") if word.startswith("--") else ("", "", word)
    known = {normal(uri) for uri in uris if is_local(uri)}

    def place(part: str) -> bool:
        return bool(part) and (not is_local(part) or normal(part) in known)

    if value and is_local(value) and normal(value) in known:  # a path may hold a comma
        return f"{flag}{mark}{normal(value)}"
    parts = value.split(",")
    if all(map(place, parts)):  # else a victim that is called as a folder would become one
        return f"{flag}{mark}{','.join(normal(part) if is_local(part) else part for part in parts)}"
    return f"{flag}{mark}{','.join(map(_rooted, parts))}"


def _rooted(part: str) -> str:
    """One of a list: a surrogate or victim @FILE, a setting=FILE, a relabelling super:FILE; anything else as it is."""
    for sign in "@=:":
        kind, between, file = part.partition(sign)
        if between and file and Path(file).expanduser().is_file():
            return f"{kind}{sign}{normal(file)}"
    return part


def _packed(path: Path, *, root: Path, ignored: tuple[Ignored, ...]) -> Iterator[tuple[str, int]]:
    """Files below `path` that Ray packs: `_dir_travel` and `_zip_files` of ray/_private/runtime_env/packaging.py."""
    if path.is_dir():
        names = (".rayignore",) if os.environ.get("RAY_RUNTIME_ENV_IGNORE_GITIGNORE") == "1" else (".gitignore", ".rayignore")
        files = [path / name for name in names if (path / name).is_file()]
        ignored = (*ignored, *(_ignoring(file.read_text().splitlines(), root=path) for file in files))
    if any(leaves_out(path) for leaves_out in ignored):
        return
    name = path.relative_to(root).as_posix()
    if path.is_file():
        yield name, path.stat().st_size
    elif path.is_dir():
        inside = sorted(path.iterdir())
        if not inside:
            yield f"{name}/", 0
        for one in inside:
            yield from _packed(one, root=root, ignored=ignored)


def _ignoring(lines: Sequence[str], *, root: Path) -> Ignored:
    spec = PathSpec.from_lines(GitIgnoreSpecPattern, lines)
    return lambda path: spec.match_file(str(path.relative_to(root)))


def _mib(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"
