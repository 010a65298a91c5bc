"""Errors that a user can fix, found in what Ray raises."""

import errno
import os
import re
from collections.abc import Iterator

# A disk or a network share that is full, locked, broken or gone, and names that its file system does not take.
STORAGE_ERRORS = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EIO, errno.ESTALE, errno.EFBIG, errno.ENAMETOOLONG, errno.ELOOP),
    *(errno.ENODEV, errno.ENXIO, errno.EMFILE, errno.ENFILE),
)
OF_A_FILE = (errno.EPERM, errno.ENOTCONN, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ETIMEDOUT)  # only where a file is named
CUT_OFF = re.compile(r"^\d+ requested and \d+ written$")  # what numpy says of a disk that became full
NARROW, WIDER = ("ascii", "latin-1", "charmap"), "set PYTHONUTF8=1 or LC_ALL=C.UTF-8, then run the same command again"
CONTINUES = "fix that, then run the same command again; it continues"
# Errors of Ray, which takes seconds to import, by name: what remains after it has tried the same again several times.
DEATHS = {
    "OutOfMemoryError": "the memory of a machine did not suffice: Ray ended work there",
    "WorkerCrashedError": "the process of the same piece of work died again and again, most likely because memory did not suffice",
    "ActorDiedError": "a worker died again and again, most likely because memory did not suffice",
    "MemoryError": "the memory of this machine did not suffice",
    "ObjectStoreFullError": "the memory that Ray shares between processes did not suffice",
}
# A file of a stage in the private folder of a copy, and what to do where somebody has removed it.
PRIVATE_FILE = re.compile(r"\.ray-ue/[a-z]+-[0-9a-f]{16}/")
PUT_BACK = "put it back, or remove the copy and its private folder and protect the source again"
SHORT_OF_MEMORY = "due to the node running low on memory"  # in what Ray says of workers that it killed, whatever the error's type
LESS_MEMORY = (
    "end other programs or do less side by side (--part 0.5), then run the same command again; it continues. Or take the largest pictures "
    "out of the source, and protect it into a new output"
)
# What clients of object stores raise, after their own retries, if the store does not answer.
UNREACHABLE = re.compile(
    r"\b(EndpointConnectionError|ConnectTimeoutError|ConnectionClosedError|ReadTimeoutError|HTTPClientError|ResponseParserError|"
    r"ClientConnectorError|ClientOSError|ServerDisconnectedError|ConnectionRefusedError|ConnectionResetError)\b"
)
# Ray keeps only the traceback's text of an error in a Ray Data function (UserCodeException) or in the constructor of an actor
# (ActorDiedError).
STORAGE_ERROR_IN_TEXT = re.compile(r"^\s*(?:OSError|PermissionError): \[Errno (\d+)\] (.+)$", re.MULTILINE)
IN_RAY_DATA = re.compile(r"\s*:?\s*Failed to apply UDF transform")
VALUE_ERROR_IN_TEXT = re.compile(r"^ValueError: (.+)$", re.MULTILINE)


def without_ray(text: str) -> str:
    """What an error said, without what Ray Data adds of retries that no user asked for."""
    return IN_RAY_DATA.split(text)[0].strip()


def find_user_error(error: BaseException | None) -> ValueError | None:
    """The `ValueError`, or the full, locked or unreachable storage, that caused `error`; None for any other cause."""
    return next((user_error for cause in _causes(error) if (user_error := _as_user_error(cause))), None)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """`error` and its causes; what Ray wraps comes before its wrapper, whose text is a traceback."""
    waiting, visited = [error], set[int]()
    while waiting:
        cause = waiting.pop(0)
        if cause is None or id(cause) in visited:
            continue
        visited.add(id(cause))
        for inner in _unwrap(cause):
            yield from _causes(inner)
        yield cause
        waiting += [cause.__cause__, cause.__context__]


def _unwrap(error: BaseException) -> list[BaseException]:
    if not type(error).__module__.startswith("ray."):  # importing Ray takes seconds
        return []
    from ray.exceptions import RayTaskError
    from ray.train import ControllerError, WorkerGroupError

    if isinstance(error, RayTaskError):
        return [error.cause]
    if isinstance(error, ControllerError):
        return [error.controller_failure]
    if isinstance(error, WorkerGroupError):
        return list(error.worker_failures.values())
    health = getattr(error, "health_check_failure", None)  # of a worker that was killed from outside
    return [health] if health else []


def _as_user_error(error: BaseException) -> ValueError | None:
    text = str(error)
    if isinstance(error, UnicodeEncodeError) and error.encoding in NARROW:
        name = error.object[max(0, error.start - 80) : error.start + 40]
        return ValueError(f"the name {name!a} cannot be written in this locale ({error.encoding}); {WIDER}")
    if isinstance(error, ValueError):
        return ValueError(without_ray(text)) if IN_RAY_DATA.search(text) else error
    if isinstance(error, FileNotFoundError) and PRIVATE_FILE.search(str(error.filename or "")):
        return ValueError(f"{error.filename} is not there any more; {PUT_BACK}")
    if unreachable := UNREACHABLE.search(f"{type(error).__name__} {text}"):
        return ValueError(f"an object store does not answer ({unreachable[0]}); {CONTINUES}")
    if isinstance(error, OSError) and (error.errno in STORAGE_ERRORS or (error.errno in OF_A_FILE and error.filename)):
        said = without_ray(error.strerror or os.strerror(error.errno or 0))
        return ValueError(f"{said}: {error.filename or 'while writing'}; {CONTINUES}")
    if isinstance(error, OSError) and error.errno == errno.EINVAL and error.filename:
        return ValueError(
            f"{error.filename} cannot be written: its file system takes no such name; name another output, or rename the file"
        )
    if (isinstance(error, OSError) and CUT_OFF.match(text)) or type(error).__name__ == "OutOfDiskError":
        return ValueError(f"No space left on device: while writing; {CONTINUES}")
    if (storage := STORAGE_ERROR_IN_TEXT.search(text)) and int(storage[1]) in STORAGE_ERRORS:
        return ValueError(f"{without_ray(storage[2])}; {CONTINUES}")
    messages = VALUE_ERROR_IN_TEXT.findall(text)
    if messages:
        return ValueError(without_ray(messages[-1]))
    if SHORT_OF_MEMORY in text:
        return ValueError(f"{DEATHS['OutOfMemoryError']}; {LESS_MEMORY}")
    reason = DEATHS.get(type(error).__name__, "") if "creation task" not in text else ""  # there it is an error of ours
    return ValueError(f"{reason}; {LESS_MEMORY}") if reason else None
