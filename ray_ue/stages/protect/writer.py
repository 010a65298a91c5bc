"""Writer: what a task does with a shard of the source: protected images, files beside them, and the ledger of both."""

import pickle
from collections.abc import Iterator, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache, partial

import numpy as np
import pyarrow as pa

from ray_ue.images.codec import Limits, Picture, Rejected, decode, encode, refuse_side, resized
from ray_ue.images.metadata import Strip, strip_exif
from ray_ue.images.quality import compare, deviation
from ray_ue.perturbations import Poison
from ray_ue.sources import Item, Shard, Source, Written
from ray_ue.sources.image_files import EXTENSIONS, LOSSY, MOVING
from ray_ue.sources.naming import printable
from ray_ue.stages.protect.craft import open_poison
from ray_ue.stages.protect.index import rows_of
from ray_ue.stages.protect.ledger import LEDGER, digest_of, in_order, ledger_name
from ray_ue.storage.artifacts import Folder
from ray_ue.types import SlotOf

SHOWN_EVERY = 32


@dataclass(frozen=True, kw_only=True)
class Writer:
    """All that a task needs to write one shard of the copy."""

    source: Source
    output: str
    index: Folder
    poison: Folder
    ledger: Folder
    resize: int
    image_format: str
    strip: Strip
    limits: Limits
    ssim_every: int
    threads: int

    def protect(self, item: Item, number: int, slot: int, poison: Poison) -> tuple[bytes | None, dict]:
        """The protected bytes of one image (None: left out) and its line for the ledger."""
        line: dict = {"id": number, "key": item.key, "slot": slot}
        try:
            clean = decode(item.data, limits=self.limits, moving=self.image_format in MOVING)
            if self.resize:
                clean = resized(clean, size=self.resize)
            refuse_side(*clean.rgb.shape[:2], format=self.image_format)
        except Rejected as reason:
            return None, line | {"reason": str(reason)}
        if slot < 0:
            return None, line | {"reason": "rejected when it was first read"}
        kept = strip_exif(clean.exif, strip=self.strip)
        picture, notes = replace(perturbed(clean, poison, slot, key=item.key), exif=kept.exif), [*kept.notes, *clean.notes]
        data = encode(picture, format=self.image_format)
        if self.image_format in LOSSY:  # what a reader decodes is another picture
            picture = decode(data, limits=self.limits)
            notes += ["transparency dropped"] if clean.alpha is not None else []
        visibility = compare(clean.rgb, picture.rgb, ssim=number % self.ssim_every == 0)
        height, width = picture.rgb.shape[:2]
        most = max([visibility.most, *(deviation(*pair) for pair in zip(clean.frames()[1:], picture.frames()[1:]))])
        change = {"most": most, "psnr": visibility.psnr, "ssim": visibility.ssim, "notes": notes}
        return data, line | {"height": height, "width": width, **change, "bytes": len(data), "pixels": digest_of(picture)}

    def write(self, shard: Shard, first_id: int, slots: SlotOf) -> Iterator[list[dict]]:
        """Write the shard's part of the copy, then its ledger, which is what says that it is done; yields ledger lines as they come."""
        numbered = self.numbered(shard, first_id, slots)
        lines, others = list[dict](), list[Written]()
        yielded = 0
        for _ in self.rewrite(shard, numbered, lines, others):
            if len(lines) - yielded >= SHOWN_EVERY:
                yield lines[yielded:]
                yielded = len(lines)
        if others:
            self.ledger.write_table(f"others/{ledger_name(shard.number)}", pa.Table.from_pylist([other_line(one) for one in others]))
        self.ledger.write_table(f"ledger/{ledger_name(shard.number)}", pa.Table.from_pylist(lines, schema=LEDGER))
        yield lines[yielded:]

    def mend(self, shard: Shard, names: Set[str], first_id: int, slots: SlotOf) -> int:
        """Write the files of these names again, or all of a packed shard, and put their lines into its ledger; returns how many."""
        numbered = self.numbered(shard, first_id, slots)
        if shard.files:
            extension = EXTENSIONS[self.image_format]
            files = tuple(file for file in shard.files if file.goal + (extension if file.is_image else "") in names)
            keys = {printable(file.path) for file in files if file.is_image}
            shard, numbered = replace(shard, files=files), [entry for entry in numbered if entry[0] in keys]
        lines, others = list[dict](), list[Written]()
        before = self.ledger.read_table(f"ledger/{ledger_name(shard.number)}", columns=("key", "reason"))
        written = frozenset(before.filter(before["reason"].is_null())["key"].to_pylist())
        for _ in self.rewrite(shard, numbered, lines, others, needed=written):
            pass
        for table, key, new in (("ledger", "key", lines), ("others", "name", [other_line(one) for one in others])):
            if new:
                name, again = f"{table}/{ledger_name(shard.number)}", {line[key]: line for line in new}
                before = self.ledger.read_table(name)
                self.ledger.write_table(
                    name, pa.Table.from_pylist([again.get(line[key], line) for line in before.to_pylist()], schema=before.schema)
                )
        return len(lines) + len(others)

    def numbered(self, shard: Shard, first_id: int, slots: SlotOf) -> list[tuple[str, int, int]]:
        """(key, id, slot) of every image of a shard."""
        keys = rows_of(self.index, shard.number)["key"].to_pylist()
        return list(zip(keys, range(first_id, first_id + len(keys)), slots.tolist(), strict=True))

    def rewrite(
        self,
        shard: Shard,
        numbered: list[tuple[str, int, int]],
        lines: list[dict],
        others: list[Written],
        *,
        needed: Set[str] = frozenset(),
    ) -> Iterator[Written]:
        """Write a shard's images with their perturbations, and its other files; their lines are appended, and each file is yielded.

        A `ValueError` where one of the keys `needed` cannot be written: a packed file is then left as it was.
        """
        written: dict[str, Written] = {}
        change = partial(self.change, numbered=numbered, lines=lines, needed=needed)
        for done in self.source.rewrite(shard, to=self.output, extension=EXTENSIONS[self.image_format], change=change):
            if done.key:
                written[done.key] = done
            else:
                others.append(done)
            yield done
        if len(lines) != len(numbered):
            raise changed(self.source, f"{shard.path} has {len(lines)} images, {len(numbered)} were listed")
        for line in lines:
            if line["key"] in written:
                line |= {"name": written[line["key"]].name, "sha256": written[line["key"]].sha256}

    def change(
        self, items: Iterator[Item], *, numbered: list[tuple[str, int, int]], lines: list[dict], needed: Set[str]
    ) -> Iterator[bytes | None]:
        """Protected bytes in the order of the items, made by threads; each image's ledger line is appended to `lines`."""
        poison = poison_here(self.poison)

        def tasks() -> Iterator[tuple[Item, int, int]]:
            for place, item in enumerate(items):
                if place >= len(numbered) or numbered[place][0] != item.key:
                    raise changed(self.source, f"{item.key} was not listed there")
                yield item, numbered[place][1], numbered[place][2]

        with ThreadPoolExecutor(self.threads) as pool:
            for data, line in in_order(pool, lambda task: self.protect(task[0], task[1], task[2], poison), tasks(), ahead=2 * self.threads):
                if data is None and line["key"] in needed:
                    raise ValueError(
                        f"what is damaged cannot be written again, as an original cannot be read ({line['key']}: {line['reason']}): put "
                        "the original back, or, once it is gone from the source, let --prune take it out of the copy"
                    )
                lines.append(line)
                yield data


def perturbed(clean: Picture, poison: Poison, slot: int, *, key: str) -> Picture:
    """The picture with its perturbation, which every frame of an animation carries."""
    motion = clean.motion
    if motion:
        frames = tuple((poison.apply(rgb, slot, key=key), alpha) for rgb, alpha in motion.frames)
        motion = replace(motion, frames=frames)
    return replace(clean, rgb=poison.apply(clean.rgb, slot, key=key), motion=motion)


def changed(source: Source, what: str) -> ValueError:
    return ValueError(f"{source.root} changed while it was read: {what}; leave it alone during a run, and name a new output")


@lru_cache(maxsize=1)
def poison_here(folder: Folder) -> Poison:
    """The poison, read once per process."""
    return open_poison(folder)


def write_shards(batch: pa.Table, *, writer: Writer) -> Iterator[pa.Table]:
    """Write each shard of `batch`; yield counts for the live view."""
    for entry in batch.to_pylist():
        shard: Shard = pickle.loads(entry["shard"])  # noqa: S301 - made by the driver of this run
        for lines in writer.write(shard, entry["first_id"], np.frombuffer(entry["slots"], np.int32)):
            yield count(lines)


def mend_shards(batch: pa.Table, *, writer: Writer) -> Iterator[pa.Table]:
    """Write the named files of each shard of `batch` again."""
    for entry in batch.to_pylist():
        shard, names = pickle.loads(entry["work"])  # noqa: S301 - made by the driver of this run
        yield pa.table({"rows": [writer.mend(shard, names, entry["first_id"], np.frombuffer(entry["slots"], np.int32))]})


def other_line(written: Written) -> dict:
    return {"name": written.name, "sha256": written.sha256, "bytes": written.size}


def count(lines: list[dict]) -> pa.Table:
    return pa.table({"rows": [len(lines)], "rejected": [sum("reason" in line for line in lines)]})
