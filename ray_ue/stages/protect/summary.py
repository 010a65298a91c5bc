"""What an export did, in totals: images, changes, files beside them, what was left out, and warnings for the last lines of a run."""

from collections import Counter
from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa

from ray_ue.config.recipe import Recipe
from ray_ue.images.metadata import FRAMES_DROPPED
from ray_ue.images.platforms import shrinking
from ray_ue.progress import counted
from ray_ue.sources import Source
from ray_ue.sources.image_files import LOSSY
from ray_ue.sources.naming import group, one_line, printable, some, without_extension
from ray_ue.sources.sidecars import is_carried
from ray_ue.stages.protect.ledger import ledger_name
from ray_ue.stages.protect.rejected import SCHEMA, write_list
from ray_ue.storage.artifacts import Artifact, Folder

# Mean squared distance of new pictures to their clusters, over that of more pictures like the first: photographs of the same classes lay
# at 0.9 to 1.2, of another class at 1.1 to 2.2 (Lite0, 40 to 600 photographs). A few pictures vary more.
DRIFT, FEW_DRIFT, FEW = 1.3, 2.0, 10
BESIDE = "beside.txt"  # lists every file that was copied, left out or renamed
KINDS = 8  # of members or columns that are named
PLANNED = 40  # files that a plan names of those that would be copied: there is no list of all before a run
MOST_IN_ONE = 0.8  # of the images: more of them in one group are told
WEAK = 0.5  # of the budget: an image that changes by less is hardly protected


def summarise(folder: Folder, embedded: Mapping[str, Artifact], names: list[str], *, budget: int) -> dict:
    """Totals over the ledgers, one in memory at a time; writes `rejected.parquet` (id, key, reason)."""
    tables = [artifact.folder.read_table("rejected.parquet") for artifact in embedded.values()]
    why = {row: reason for early in tables for row, reason in zip(early["id"].to_pylist(), early["reason"].to_pylist())}
    size, psnr, ssim, bad, notes, moving = 0, [np.zeros(0)], [np.zeros(0)], [], Counter[str](), []
    most, keys, large = [np.zeros(0, int)], [], []
    sites: dict[tuple[int, int], list[str]] = {}
    for name in names:
        ledger = folder.read_table(f"ledger/{name}")
        for line in ledger.filter(ledger["reason"].is_valid()).to_pylist():
            bad.append({"id": line["id"], "key": line["key"], "reason": why.get(line["id"], line["reason"])})
        good = ledger.filter(ledger["reason"].is_null())
        size += sum(good["bytes"].to_pylist())
        most.append(np.asarray(good["most"].to_pylist(), int))
        keys += [key for key, change in zip(good["key"].to_pylist(), most[-1].tolist()) if change < WEAK * budget]
        for key, *size_of in zip(*(good[column].to_pylist() for column in ("key", "height", "width"))):
            place = (size_of[0], size_of[1])
            large += [key] if sites.setdefault(place, shrinking(*place)) else []
        for key, listed in zip(good["key"].to_pylist(), good["notes"].to_pylist(), strict=True):
            notes.update(listed)
            moving += [key] if FRAMES_DROPPED in listed else []
        psnr.append(np.asarray(good["psnr"].to_pylist(), float))
        ssim.append(np.asarray(good["ssim"].to_pylist(), float))
    write_list(folder, pa.Table.from_pylist(bad, schema=SCHEMA))
    changes, loud, similar = (np.concatenate(parts) for parts in (most, psnr, ssim))
    loud, similar = loud[np.isfinite(loud)], similar[np.isfinite(similar)]
    return {
        "images": len(changes),
        "rejected": len(bad),
        "reasons": group([f"{line['key']}: {line['reason']}" for line in bad]),
        "bytes": size,
        "most_levels": int(changes.max(initial=0)),
        "psnr_mean": round(float(loud.mean()), 2) if len(loud) else None,
        "psnr_least": round(float(loud.min()), 2) if len(loud) else None,
        "ssim_mean": round(float(similar.mean()), 4) if len(similar) else None,
        "ssim_least": round(float(similar.min()), 4) if len(similar) else None,
        "ssim_images": len(similar),
        "notes": dict(notes),
        "first_frames": group(moving),
        "weak": group(keys),
        "large": group(large) | {"sites": sorted({site for names in sites.values() for site in names})},
    }


def beside(listed: Source, indexed: Source, folder: Folder, *, extension: str) -> dict:
    """The files beside the images: those that the copy holds, those that were left out by reason, and names that had to change.

    The first of them stand in the facts, all in `beside.txt`, a line each.
    """
    carried = [name for part in folder.names("others") for name in folder.read_table(f"others/{part}")["name"].to_pylist()]
    rejected = set(folder.read_table("rejected.parquet", columns=("key",))["key"].to_pylist())
    renamed = [(old, new) for old, new in (*indexed.renamed(extension), *renamed_members(indexed, folder)) if old not in rejected]
    lines = [f"copied\t{one_line(name)}\n" for name in carried]
    lines += [f"left out\t{one_line(name)}\t{reason}\n" for name, reason in sorted(listed.left_out(), key=lambda one: one[1])]
    lines += [f"renamed\t{one_line(old)}\t{one_line(new)}\n" for old, new in renamed]
    if lines:
        folder.write(BESIDE, "".join(lines).encode())
    return {
        "carried": group(carried),
        "renamed": group([f"{old} -> {new}" for old, new in renamed]),
        **around(listed),
    }


def around(source: Source) -> dict:
    """What a source holds that a copy does not, or that may surprise: files left out, images from elsewhere, patterns that fit nothing."""
    left_out: dict[str, list[str]] = {}
    for name, reason in source.left_out():
        left_out.setdefault(reason, []).append(name)
    return {
        "unchanged": unchanged_line(source),
        "linked": linked_line(source),
        "idle": idle_patterns(source),
        "left_out": {reason: group(names) for reason, names in left_out.items()},
    }


def renamed_members(indexed: Source, folder: Folder) -> Iterator[tuple[str, str]]:
    """(key, name in the copy) of the images in tar files that could not keep their names, but for the extension."""
    for shard in indexed.shards() if indexed.format == "webdataset" else ():
        if not shard.files:
            ledger = folder.read_table(f"ledger/{ledger_name(shard.number)}", columns=("key", "name"))
            pairs = zip(ledger["key"].to_pylist(), ledger["name"].to_pylist(), strict=True)
            yield from ((key, name) for key, name in pairs if name and without_extension(key) != without_extension(name))


def unchanged_line(source: Source) -> str:
    """What packed files hold besides images; empty if nothing."""
    if not (kinds := source.unchanged()):
        return ""
    shown = ", ".join(map(printable, kinds[:KINDS])) + (", …" if len(kinds) > KINDS else "")
    told = f"what packed files hold besides images goes with them, unread (in the first files: {shown})"
    return f"{told}: make sure that no picture is among it"


def linked_line(source: Source) -> str:
    """Images that links bring from outside of the source, or once more from within; empty if there is none."""
    parts = []
    if linked := source.linked():
        verb = "comes" if len(linked) == 1 else "come"
        parts.append(
            f"{counted(len(linked), 'image')} {verb} through links from elsewhere, protected like the others: {some(group(linked))}"
        )
    if doubled := source.doubled():
        verb = "is there twice, as a link brings it" if len(doubled) == 1 else "are there twice, as links bring them"
        parts.append(f"{counted(len(doubled), 'image')} {verb} from elsewhere in the source: {some(group(doubled))}")
    return "; ".join(parts)


def idle_patterns(source: Source) -> list[str]:
    """Patterns of `--carry` that no file fits."""
    names = [name for name, _ in (*source.files(), *source.left_out())]
    return [pattern for pattern in source.carry if not any(is_carried(name, (pattern,)) for name in names)]


def beside_lines(source: Source) -> dict[str, str]:
    """For a plan: images that links bring from elsewhere, and the files beside the images, which are copied and which are not."""
    carried = [file.goal for shard in source.shards() for file in shard.files if not file.is_image]
    left_out = source.left_out()
    packed = unchanged_line(source)
    lines = {"packed": packed} if packed else {}
    lines |= {"linked": linked} if (linked := linked_line(source)) else {}
    lines |= {"copied": f"{len(carried):,} beside the images: {some(group(carried, shown=PLANNED))}"} if carried else {}
    reasons = sorted({reason for _, reason in left_out})
    parts = [(reason, group([name for name, why in left_out if why == reason])) for reason in reasons]
    told = "; ".join(f"{names['count']:,} {reason} ({some(names)})" for reason, names in parts)
    if idle := idle_patterns(source):
        lines["carry"] = f"no file fits {', '.join(map(repr, idle))}"
    return lines | ({"left out": f"{told}; --carry PATTERN copies what you name"} if parts else {})


def large_line(large: dict, recipe: Recipe) -> str:
    """A warning of images that web sites scale down: their number, the first names, and the `sites`."""
    smaller = "make them smaller first, or crop squares with --resize"
    advice = f"--resize {recipe.resize} is more than they keep" if recipe.resize else smaller
    return (
        f"{counted(large['count'], 'image')} larger than web sites keep ({', '.join(large['sites'])}), such as {some(large)}: "
        f"each that scales them down removes a part of the perturbation; {advice}"
    )


def warnings_of(facts: dict, *, groups: dict, recipe: Recipe) -> list[str]:
    """What weakens or voids the protection, a sentence each."""
    warnings = []
    if empty := groups.get("empty", 0):
        warnings.append(
            f"{empty} of {len(groups['sizes'])} clusters {'is' if empty == 1 else 'are'} empty, as too many images are (nearly) equal: "
            "a pattern that all images share is easily removed; protect a more varied collection, or each image with --per image"
        )
    elif groups.get("by") in ("kmeans", "label") and max(groups["sizes"]) > MOST_IN_ONE * sum(groups["sizes"]):
        warnings.append(
            f"{max(groups['sizes']):,} of {sum(groups['sizes']):,} images share one pattern, which is easily removed: "
            "protect more images, or name a number of --clusters"
        )
    if groups.get("drift_ratio", 0) > (DRIFT if sum(groups["sizes"]) >= FEW else FEW_DRIFT):
        warnings.append(
            f"the new pictures lie {groups['drift_ratio']:.1f} times as far from the clusters as more pictures like the first ones would: "
            "the collection has changed so much that it should be made anew (--anew)"
        )
    if (weak := facts["weak"])["count"]:
        warnings.append(
            f"{counted(weak['count'], 'image')} changed by less than half of the budget, and hardly protected, such as {some(weak)}: "
            "pictures that are very thin, tiny or nearly black and white, or far smaller than those that the perturbation was made for"
        )
    if facts["large"]["count"]:
        warnings.append(large_line(facts["large"], recipe))
    if recipe.image_format in LOSSY:
        warnings.append(
            f"{recipe.image_format} is lossy: a reader decodes changes of up to {facts['most_levels']} levels, and much of the "
            "perturbation is gone; publish png or webp"
        )
    return warnings
