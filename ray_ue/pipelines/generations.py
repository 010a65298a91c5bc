"""Generations of a copy: what each run wrote into it, which pictures are new since, and which are gone. It runs no stage."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property

from ray_ue.config.job import Job
from ray_ue.config.stages import BANK, GENERATIONS
from ray_ue.engine.errors import PUT_BACK
from ray_ue.images.broken import FOR_HEIF
from ray_ue.images.codec import heif_reader
from ray_ue.pipelines.chains import artifacts_of, listed, names_of
from ray_ue.sources import Source
from ray_ue.sources.files import images_among
from ray_ue.sources.image_files import EXTENSIONS, HEIF_SUFFIXES, kind_of_name, suffix_of
from ray_ue.sources.listing import File, load_listing
from ray_ue.sources.naming import printable, safe
from ray_ue.stages.protect.damage import Part, all_written, refuse_lost_ledger
from ray_ue.stages.protect.ledger import live
from ray_ue.storage.artifacts import MANIFEST, Artifact, Folder, finished


@dataclass(frozen=True, kw_only=True)
class Generation:
    """One run that wrote into a copy: the fingerprint of its export; or a removal: the `removed` keys and names, without an export."""

    export: str = ""
    removed: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class History:
    """The generations of a copy, oldest first, and the folders of its own artifacts and of those that a sweep's copies share."""

    work: Folder
    shared: Folder
    generations: tuple[Generation, ...] = ()

    @classmethod
    def of(cls, job: Job) -> "History":
        """From the record in a work folder; without one, as an older version left it, the newest finished export is all there is."""
        work, empty = job.work, cls(work=job.work, shared=job.shared)
        if work.exists(GENERATIONS):
            lines = work.read_json(GENERATIONS)["generations"]
            recorded = (Generation(export=line["export"], removed=tuple(line["removed"])) for line in lines)
            # one that was being mended when the run was killed is unfinished again: its files count as new
            kept = [one for one in recorded if not one.export or finished(work.child(f"export-{one.export}"))]
            return replace(empty, generations=tuple(kept) if any(one.export for one in kept) else ())
        exports = [name for name in work.names() if name.startswith("export-") and finished(work.child(name))]
        newest = sorted(exports, key=lambda name: work.child(name).modified(MANIFEST))[-1:]
        return replace(empty, generations=tuple(Generation(export=name.removeprefix("export-")) for name in newest))

    def with_generation(self, generation: Generation) -> "History":
        """The same with one more; an export that is there already is none."""
        known = generation.export and generation in self.generations
        return self if known else replace(self, generations=(*self.generations, generation))

    def record(self) -> None:
        self.work.write_json(GENERATIONS, {"generations": [asdict(one) for one in self.generations]})

    @cached_property
    def chains(self) -> list[dict[str, Artifact]]:
        """The artifacts of each generation that wrote something, by stage."""
        return [artifacts_of(self.work, self.shared, one.export) for one in self.generations if one.export]

    def parts(self) -> list[Part]:
        """What each generation wrote, less what later ones wrote again or removed."""
        parts, replaced = list[Part](), frozenset[str]()
        chains = iter(reversed(self.chains))
        for generation in reversed(self.generations):
            if not generation.export:
                replaced |= set(generation.removed)
                continue
            chain = next(chains)
            own = replaced | frozenset(self._packed_again(chain, replaced))
            parts.append(Part(index=chain["index"], exported=chain["export"], poison=chain["craft"], replaced=own))
            replaced |= names_of(chain)
        return parts[::-1]

    def _packed_again(self, chain: dict[str, Artifact], replaced: frozenset[str]) -> Iterator[str]:
        """Keys of packed shards that were written again as a whole, with as many rows as they have now."""
        for number, path in enumerate(shard.path if not shard.files else "" for shard in load_listing(chain["index"].folder)):
            if path and path in replaced:
                yield from chain["index"].folder.read_table(f"rows/shard-{number:06d}.parquet")["key"].to_pylist()

    def files(self) -> dict[str, int]:
        """Path and size of every file of the source as it was when it was last protected."""
        sizes: dict[str, int] = {}
        chains = iter(self.chains)
        for generation in self.generations:
            sizes |= listed(next(chains)) if generation.export else {}
            if removed := set(generation.removed):
                sizes = {path: size for path, size in sizes.items() if printable(path) not in removed}
        return sizes

    def published(self) -> tuple[tuple[str, str], ...]:
        """The key and the name in the copy of every image that lies there."""
        return tuple({line["key"]: line["name"] for line in self.written(("key", "name"))}.items())

    def rejected(self) -> tuple[str, ...]:
        """The keys of images that were left out, and that no later run has written."""
        lines = [
            part.exported.folder.read_table(f"ledger/{name}", columns=("key", "reason"))
            for part in self.parts()
            for name in part.exported.folder.names("ledger")
        ]
        out = {key for table in lines for key in table.filter(table["reason"].is_valid())["key"].to_pylist()}
        return tuple(sorted(out.difference(key for key, _ in self.published())))

    def refuse_lost_files(self) -> None:
        """A `ValueError` where the patterns of a generation, or a part of its ledger, were removed from the private folder."""
        for part in self.parts():
            folder = part.exported.folder
            refuse_lost_ledger(part, sum(len(folder.read_table(f"ledger/{name}", columns=("id",))) for name in folder.names("ledger")))
            if not part.poison.folder.exists(BANK):
                raise ValueError(f"{part.poison.folder.path(BANK)} is not there any more; {PUT_BACK}")

    def unread(self) -> tuple[str, ...]:
        """The formats of the source that could not be read when the copy was begun."""
        return tuple(self.chains[0]["index"].manifest.fields.get("unread", ()))

    def readable_now(self) -> set[str]:
        """The keys of images that were left out for want of a package which is there now."""
        if not heif_reader():
            return set()
        reasons: dict[str, str] = {}
        for chain in self.chains:
            table = chain["export"].folder.read_table("rejected.parquet", columns=("key", "reason"))
            reasons |= dict(zip(table["key"].to_pylist(), table["reason"].to_pylist(), strict=True))
        return {key for key, reason in reasons.items() if reason.startswith(FOR_HEIF)} - {key for key, _ in self.published()}

    def held(self) -> set[str]:
        """The files of the copy that the record accounts for."""
        names: set[str] = set()
        for part in self.parts():
            shards = load_listing(part.index.folder)
            for of_export in all_written([part]).values():
                for number, written in of_export.items():
                    packed = safe(shards[number].path)
                    names |= written if shards[number].files else {packed, *(one for one in written if not one.startswith(f"{packed}/"))}
        return names

    def others(self) -> Iterator[dict]:
        """The line (key, name, bytes, sha256) of every file beside the images of the copy; its key is its name."""
        for part in self.parts():
            for name in part.exported.folder.names("others"):
                lines = part.exported.folder.read_table(f"others/{name}", columns=("name", "bytes", "sha256")).to_pylist()
                yield from (line | {"key": line["name"]} for line in lines if line["name"] not in part.replaced)

    def written(self, columns: tuple[str, ...]) -> Iterator[dict]:
        """The ledger's line of every image of the copy, with these columns."""
        for part in self.parts():
            for name in part.exported.folder.names("ledger"):
                table = part.exported.folder.read_table(f"ledger/{name}", columns=(*{*columns, "key", "reason"},))
                yield from live(table, replaced=part.replaced).to_pylist()


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What differs between a source and what a copy was made of: files that are new, have changed or can be read now, and paths that are
    gone."""

    fresh: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()


def goes_on(history: History, changed: Changes, *, anew: bool, kept: str) -> bool:
    """Whether a run adds to what is there, and makes no copy from the whole source; `kept` is what it would make otherwise."""
    return bool(history.generations) and not anew and (changed != Changes() or len(history.generations) > 1 or bool(kept))


def changes(source: Source, history: History) -> Changes:
    before, now, readable = history.files(), dict(source.files()), history.readable_now()
    fresh = tuple(path for path, size in now.items() if before.get(path) != size or printable(path) in readable)
    return Changes(fresh=fresh, gone=tuple(path for path in before if path not in now))


def unread(source: Source) -> tuple[str, ...]:
    """The formats among the files of a source that nothing here reads, though a package could."""
    named = any(suffix_of(name).lower() in HEIF_SUFFIXES for name, _ in source.files())
    return ("heif",) if named and not heif_reader() else ()


def has_images(source: Source, names: Sequence[str]) -> bool:
    """Whether one of these files is an image, or holds images, by its name or else by its first bytes."""
    return any(source.takes(name) for name in names) or any(images_among(source.place, names))


def narrowed(source: Source, names: Sequence[str], *, history: History) -> Source:
    """The source with these files alone, as they join a copy: beside images that are published already.

    The same files may join twice, if they were pruned in between: what joins has an identity of its own.
    """
    sizes, wanted = dict(source.files()), set(names)
    entries = tuple((name, sizes[name], "") for name in sizes if name in wanted)
    return replace(joined(source, history), entries=entries, listing=None, generation=len(history.generations))


def names_in_copy(file: File) -> set[str]:
    """The names that a file of the source may have in a copy: an image takes the ending of the copy's format."""
    return {file.goal, *(file.goal + ending for ending in EXTENSIONS.values())}


def strangers(source: Source, copy: Source, history: History, fresh: Sequence[str]) -> tuple[str, ...]:
    """The images in a copy that no run has written, and that none would write for the files that are `fresh`."""
    ours = history.held()
    if has_images(source, fresh):
        for shard in narrowed(source, fresh, history=history).shards():
            ours.update(*map(names_in_copy, shard.files))
    return tuple(name for name, _ in copy.files() if kind_of_name(name) == "image" and name not in ours)


def joined(source: Source, history: History) -> Source:
    """The source beside what earlier runs have published of it, and have left out."""
    return replace(source, published=history.published(), rejected=history.rejected())
