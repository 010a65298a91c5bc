"""The artifacts that one run made of a part of a copy, up its chain of inputs, and the files that it read. It runs no stage."""

from collections.abc import Iterator

from ray_ue.config.stages import FURTHER, STAGES, stage_of
from ray_ue.sources.listing import File, load_listing
from ray_ue.sources.naming import printable
from ray_ue.storage.artifacts import Artifact, Folder, finished, opened


def artifacts_of(work: Folder, shared: Folder, export: str) -> dict[str, Artifact]:
    """The export with this fingerprint, and all that it was made of, by stage."""
    artifacts = {"export": _opened(work.child(f"export-{export}"))}
    waiting = [artifacts["export"]]
    while waiting:  # up the chain of inputs
        for role, fingerprint in waiting.pop().manifest.inputs.items():
            kind = stage_of(role)
            if kind in STAGES and kind not in artifacts and not role.startswith(FURTHER):
                home = work if STAGES[kind].per_copy else shared
                artifacts[kind] = _opened(home.child(f"{kind}-{fingerprint}"))
                waiting.append(artifacts[kind])
    return artifacts


def _opened(folder: Folder) -> Artifact:
    """An artifact that a copy was made of; a `ValueError` where it was deleted."""
    if not finished(folder):
        raise ValueError(
            f"{folder.uri} is not there any more, without which the copy can neither be proved nor grow; "
            "put it back, or remove the copy and its work folder and protect the source again"
        )
    return opened(folder)


def files_of(chain: dict[str, Artifact]) -> Iterator[File]:
    """The loose files that a generation read."""
    for shard in load_listing(chain["index"].folder):
        yield from shard.files


def listed(chain: dict[str, Artifact]) -> dict[str, int]:
    """Path and size of every file that a generation read."""
    shards = load_listing(chain["index"].folder)
    loose = {file.path: file.size for shard in shards for file in shard.files}
    return loose | {shard.path: shard.size for shard in shards if not shard.files}


def names_of(chain: dict[str, Artifact]) -> frozenset[str]:
    """What an earlier generation no longer has once this one is there: keys of images, paths of shards, names of files beside them."""
    names = {printable(path) for path in listed(chain)}
    folder = chain["export"].folder
    return frozenset(names | {line for part in folder.names("others") for line in folder.read_table(f"others/{part}")["name"].to_pylist()})
