"""What is wrong with a copy: names of what is not as it was written, by the generation that wrote it, and the error that says so."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ray_ue.progress import counted
from ray_ue.stages.protect.ledger import live
from ray_ue.stages.protect.locations import SHOWN
from ray_ue.storage.artifacts import Artifact

Damage = Mapping[str, Mapping[int, frozenset[str]]]  # by the fingerprint of an export, and by shard: names of what is not as written
TAKE_OUT = "take what is no part of the copy out of it, and give the same line again"


class VerifyError(ValueError):
    """The copy is not what it should be; the message names the first offending keys, and `damage` all that is to be written again."""

    def __init__(self, message: str, damage: Damage | None = None) -> None:
        super().__init__(message)
        self.damage: Damage = damage or {}


@dataclass(frozen=True, kw_only=True)
class Part:
    """What one generation wrote into a copy; `replaced` are the keys and names that later ones wrote again, or removed."""

    index: Artifact
    exported: Artifact
    poison: Artifact
    replaced: frozenset[str] = frozenset()


class Wrong:
    """Names of what is not as it was written, as they are found."""

    def __init__(self) -> None:
        self.names = defaultdict[str, defaultdict[int, set[str]]](lambda: defaultdict(set))

    def add(self, part: Part, shard: int, names: Iterable[str]) -> None:
        self.names[part.exported.fingerprint][shard] |= set(names)

    def frozen(self) -> Damage:
        found = {export: {shard: frozenset(names) for shard, names in shards.items() if names} for export, shards in self.names.items()}
        return {export: shards for export, shards in found.items() if shards}


@dataclass(kw_only=True)
class Names:
    """A number of names of which the first few are kept."""

    count: int = 0
    some: list[str] = field(default_factory=list)

    def add(self, names: list[str]) -> None:
        self.count += len(names)
        self.some = sorted([*self.some, *names])[:SHOWN]

    def text(self, what: str) -> str:
        shown = f"{', '.join(self.some)}{', …' if self.count > len(self.some) else ''}"
        return f"{counted(self.count, 'image')} {what}: {shown}"

    def refuse(self, what: str) -> None:
        if self.count:
            raise VerifyError(self.text(what))


def refuse_lost_ledger(part: Part, lines: int) -> None:
    """A `VerifyError` where an export's ledger has not as many lines as its index has rows."""
    if lines != (rows := part.index.facts["rows"]):
        raise VerifyError(
            f"the source has {rows:,} images, the ledger accounts for {lines:,}: a part of {part.exported.folder.uri} was deleted; "
            "remove that folder, and ray-ue protect writes the copy again with the same patterns"
        )


def all_written(parts: Sequence[Part]) -> Damage:
    """The names of all that the copy should hold."""
    whole = Wrong()
    for part in parts:
        folder = part.exported.folder
        for name in folder.names("ledger"):
            whole.add(part, shard_of(name), live(folder.read_table(f"ledger/{name}"), replaced=part.replaced)["name"].to_pylist())
        for name in folder.names("others"):
            others = folder.read_table(f"others/{name}")["name"].to_pylist()
            whole.add(part, shard_of(name), [other for other in others if other not in part.replaced])
    return whole.frozen()


def shard_of(name: str) -> int:
    """The shard whose ledger has this name."""
    return int(name.removesuffix(".parquet").rpartition("-")[2])
