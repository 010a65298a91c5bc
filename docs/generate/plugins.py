"""The tables of what can be named: methods, victims, labels, defenses and the rest, from the dicts that hold them. It runs nothing."""

import inspect
import sys
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, fields
from typing import Any, cast

from docs.generate.commands import MADE, escaped
from ray_ue.config.schedules import SCHEDULES
from ray_ue.config.victims import CONTRASTIVE, EXAMPLES
from ray_ue.exploiter.defenses.registry import DEFENSES
from ray_ue.exploiter.relabels import RELABELS
from ray_ue.information import ESTIMATORS
from ray_ue.methods import METHODS, settings_of
from ray_ue.methods._shared.uc_parameterization import PARAMETERIZATIONS
from ray_ue.methods.mi_ue import RAMPS
from ray_ue.methods.mi_ue import SOURCES as MIUE_SOURCES
from ray_ue.methods.uc import AUGMENT_ORDERS, SCOPES
from ray_ue.models.names import NETS, UNNORMALISED
from ray_ue.models.pretrained import specs
from ray_ue.objectives.aims import AIMS
from ray_ue.objectives.anchor import LOSSES
from ray_ue.parameters import Choice, Real
from ray_ue.sources.opening import FORMATS

CIFAR = 50_000  # training images


def page() -> str:
    """All tables, and every method with its settings."""
    return "\n\n".join([f"{MADE}\n\n# What can be named", *(part() for part in PARTS)]) + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def first(value: object) -> str:
    """The first paragraph of a docstring, for a cell."""
    return escaped((inspect.getdoc(value) or "").split("\n\n")[0])


def code(name: object) -> str:
    return f"`{name}`"


def methods() -> str:
    parts = [
        "## Methods: `--method` {#methods}",
        "*Per* is what a method makes by itself; every method takes `--per group` and `--per image`. *Passes* are images that go forward "
        "and backward through a network for the 50,000 of CIFAR-10 at the method's own settings (at most, for one that may end earlier).",
        table(("name", "per", "bound by the budget", "passes", "what it is"), [_method(name) for name in METHODS]),
    ]
    for name, method in METHODS.items():
        rows = [(code(key), code(_shown(field.default))) for key, field in settings_of(method).items()]
        parts += [f"### {name} {{#method-{name}}}", text(method)]
        parts.append(table(("`--settings`", "default"), rows) if rows else "It has no settings.")
    return "\n\n".join(parts)


def _method(name: str) -> tuple[str, ...]:
    method = METHODS[name]
    about = (sys.modules[method.__module__].__doc__ or "").strip().splitlines()[0]
    needed = {"given": {"file": "-"}, "concept": {"concepts": __file__}}.get(name, {})
    passes = f"{method(**cast(Any, needed)).passes(CIFAR):,}"
    return f"[`{name}`](#method-{name})", method.per, "yes" if method.keeps_budget else "**no**", passes, escaped(about)


def _shown(value: object) -> str:
    return "needed" if value is MISSING else repr(value) if value == "" else str(value)


def text(value: object) -> str:
    """A docstring as a paragraph or more."""
    return (inspect.getdoc(value) or "").replace("<", "&lt;")


def victims() -> str:
    rows = [(code(name), "slow rate: no batch norm" if name in UNNORMALISED else "") for name in NETS]
    return "\n\n".join(
        [
            "## Victims: `--victims` {#victims}",
            f"Networks from scratch, in order of cost; {' and '.join(f'`{name}:NET`' for name in CONTRASTIVE)} learn from views first and "
            f"get a linear probe. From weights: `KIND:ARCH/TAG` or `KIND:ARCH@FILE` is fine-tuned, with `probe:` before it only probed. "
            f"Examples: {escaped(EXAMPLES)}.",
            table(("name", ""), rows),
        ]
    )


def relabels() -> str:
    rows = [
        (code(name), ", ".join(sorted(one.needs)) or "nothing", code(one.value) if one.value else "", escaped(one.about))
        for name, one in RELABELS.items()
    ]
    return "## Labels: `--relabels` {#relabels}\n\n" + table(("name", "needs", "default of `name:VALUE`", "the exploiter's labels"), rows)


def defenses() -> str:
    rows = []
    for name, one in DEFENSES.items():
        values = "; ".join(f"{value.about}: {_range(value)}" for value in one.values)
        rows.append((code(name), escaped(values) or "nothing", code(one.default) if one.default else "", escaped(one.about)))
    return (
        "## Defenses: `--defenses` {#defenses}\n\nWhat the exploiter does against the poison; `a+b` does both, from left to right.\n\n"
        + table(("name", "takes", "default", "what it does"), rows)
    )


def _range(value: Any) -> str:
    if isinstance(value, Choice):
        return " or ".join(value.words)
    if isinstance(value, Real):
        return f"above {value.above:g} to {value.high:g}"
    return f"{value.low:g} to {value.high:g}"


def estimators() -> str:
    rows = [
        (code(name), ", ".join(f"{field.name}={getattr(one, field.name)}" for field in fields(cast(Any, one))), first(type(one)))
        for name, one in ESTIMATORS.items()
    ]
    return "## Estimators: `--estimators` {#estimators}\n\nIn order of cost.\n\n" + table(("name", "settings", "what it is"), rows)


def rest() -> str:
    """The small dicts."""
    surrogates = [
        ("`open_clip:ARCH/TAG`, `open_clip:ARCH@FILE`", "the image tower of a CLIP model"),
        (
            "`timm:ARCH[/TAG]`, `timm:ARCH@FILE`",
            "a network of timm; `timm:tf_efficientnet_lite0` comes with ImageNet weights",
        ),
        ("`torchvision:ARCH[/TAG]`, `torchvision:ARCH@FILE`", "a supervised network; the tag is IMAGENET1K_V1 where none is given"),
        ("`ssl:ARCH`", "trained on the collection itself; needs no download"),
    ]
    assert {name.split(":")[0].strip("`") for name, _ in surrogates} == set(specs.FAMILIES)
    schedules = [
        (code(name), f"{one.epochs} epochs, batch {one.batch}, rate {one.lr:g}, weight decay {one.decay:g}")
        for name, one in SCHEDULES.items()
    ]
    parts = [
        ("Surrogates: `--surrogate`", "surrogates", surrogates),
        ("Aims: `--aim`", "aims", [(code(name), first(one)) for name, one in AIMS.items()]),
        ("Losses of UC: `--loss`", "losses", [(code(name), first(one)) for name, one in LOSSES.items()]),
        ("What UC trains: `--parameterization`", "paints", [(code(name), first(type(one))) for name, one in PARAMETERIZATIONS.items()]),
        (
            "Whose images train a cluster's perturbation: `--data-scope`",
            "scopes",
            [(code(name), first(one)) for name, one in SCOPES.items()],
        ),
        ("Where the augmentation stands: `--augment`", "places", [(code(name), AUGMENT[name]) for name in AUGMENT_ORDERS]),
        ("MI-UE's ramp: `--settings ramp=…`", "ramps", [(code(name), escaped(one)) for name, one in RAMPS.items()]),
        ("MI-UE's source: `--settings source=…`", "sources", [(code(name), escaped(one)) for name, one in MIUE_SOURCES.items()]),
        ("Ways of training a victim: `--training`", "schedules", schedules),
        ("Formats: `--format`", "formats", [(code(name), first(one)) for name, one in FORMATS.items()]),
    ]
    return "\n\n".join(f"## {title} {{#{anchor}}}\n\n{table(('name', ''), rows)}" for title, anchor, rows in parts)


AUGMENT = {
    "before": "crop and flip, then add the perturbation: the authors' code",
    "after": "add it, then crop and flip both: an exploiter's way",
}
PARTS = (methods, victims, relabels, defenses, estimators, rest)
