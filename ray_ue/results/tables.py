"""The Parquet tables of evaluations, measurements and sweeps. Fractions are from 0 to 1, information is in nats."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pyarrow as pa

from ray_ue.storage.artifacts import Folder


@dataclass(frozen=True, kw_only=True)
class ParquetTable:
    """A file of a run folder with a fixed schema. `advice` ends the error message for a file that lacks columns.

    Columns in `added` were not written by earlier versions: in their files they are read as null.
    """

    name: str
    schema: pa.Schema
    advice: str
    added: tuple[str, ...] = ()

    def read(self, run: Folder) -> pa.Table:
        """The rows in a run folder, in `schema`."""
        table = run.read_table(self.name)
        for name in set(self.added) - set(table.column_names):
            table = table.append_column(name, pa.nulls(len(table)))
        if missing := sorted(set(self.schema.names) - set(table.column_names)):
            raise ValueError(f"{run.uri}/{self.name} lacks the columns {', '.join(missing)}; {self.advice}")
        return table.select(self.schema.names).cast(self.schema)

    def read_if_present(self, run: Folder) -> pa.Table:
        """The rows in a run folder; none if the file does not exist."""
        return self.read(run) if run.exists(self.name) else self.schema.empty_table()

    def write(self, run: Folder, rows: Iterable[Mapping[str, object]]) -> pa.Table:
        """Write `rows`; a field of `schema` that a row lacks becomes null."""
        table = pa.Table.from_pylist([dict(row) for row in rows], schema=self.schema)
        run.write_table(self.name, table)
        return table


RESULTS = ParquetTable(
    name="results.parquet",
    advice="it was not written by this version of ray-ue evaluate",
    added=("filtered",),
    schema=pa.schema(
        [
            ("copy", pa.string()),  # name of the protected copy that the row belongs to; controls are repeated for every copy
            ("data", pa.string()),  # protected, clean, noise, pattern, or clean-part: the clean rows of a mixture alone
            ("fraction", pa.float64()),  # share of the training rows that are clean; 0 for the controls clean, noise and pattern
            ("victim", pa.string()),
            ("relabel", pa.string()),
            ("defense", pa.string()),
            ("seed", pa.int64()),
            ("status", pa.string()),  # done or failed
            ("reason", pa.string()),  # why it failed; empty when done
            ("accuracy", pa.float64()),  # share of the clean test rows, from 0 to 1, at the end
            ("filtered", pa.float64()),  # share of the clean test rows after the defense's filters; null where it has none
            ("perturbed", pa.float64()),  # share of the perturbed test rows; null when there are none
            ("train", pa.float64()),  # share of its own training rows
            ("loss", pa.float64()),  # mean training loss of the last epoch
            ("chance", pa.float64()),  # what naming the most frequent test class gives
            ("classes", pa.int64()),
            ("ami", pa.float64()),  # agreement of the copy's clusters with the exploiter's labels; null when the clusters are unknown
            ("purity", pa.float64()),
            ("rows", pa.int64()),  # training images
            ("epochs", pa.int64()),
            ("images", pa.int64()),  # image passes
            ("seconds", pa.float64()),
            ("device", pa.string()),
            ("curve_epoch", pa.list_(pa.int64())),
            ("curve_accuracy", pa.list_(pa.float64())),  # on a stated sample of the clean test rows
            ("curve_perturbed", pa.list_(pa.float64())),
            ("curve_loss", pa.list_(pa.float64())),
            ("class_accuracy", pa.list_(pa.float64())),  # per exploiter's class; nan for a class without test rows
            ("cell", pa.string()),  # fingerprint
        ]
    ),
)

INFORMATION = ParquetTable(
    name="information.parquet",
    advice="run ray-ue measure again",
    schema=pa.schema(
        [
            ("run", pa.string()),  # the folder that ray-ue evaluate wrote
            ("copy", pa.string()),
            ("data", pa.string()),  # protected, clean or noise: what the victim was trained on
            ("victim", pa.string()),
            ("relabel", pa.string()),
            ("seed", pa.int64()),
            ("accuracy", pa.float64()),  # share of the clean test rows
            ("status", pa.string()),  # done or skipped
            ("reason", pa.string()),  # why it was skipped; empty when done
            ("layer", pa.string()),
            ("estimator", pa.string()),
            ("settings", pa.string()),  # JSON
            ("value", pa.float64()),  # nats between the features of the clean images and of what the victim was trained on
            ("corrected", pa.float64()),  # the same less its known bias; null where none is known
            ("stderr", pa.float64()),  # over slices; null where nothing is sliced
            ("slices", pa.int64()),
            ("rows", pa.int64()),  # pairs that entered
            ("logdet", pa.float64()),  # of what the victim was trained on, as are the next two; groups are the exploiter's labels
            ("intra", pa.float64()),
            ("inter", pa.float64()),
            ("cell", pa.string()),  # fingerprint of the victim
            ("fingerprint", pa.string()),  # of the measurement; empty when skipped
        ]
    ),
)

TRIALS = ParquetTable(
    name="sweep.parquet",
    advice="it was not written by this version of ray-ue sweep",
    added=("pattern", "lpips"),
    schema=pa.schema(
        [
            ("name", pa.string()),  # of the trial, and of its copy
            ("status", pa.string()),  # done, stopped or failed
            ("reason", pa.string()),  # why it was stopped or failed; empty when done
            ("point", pa.string()),  # JSON: the value of each axis
            ("kept", pa.float64()),  # worst case: fraction of the accuracy above chance that the best clean victim has; lower protects more
            ("accuracy", pa.float64()),  # of the worst case on clean test rows, mean over seeds
            ("spread", pa.float64()),  # its sample standard deviation
            ("n", pa.int64()),  # seeds
            ("pattern", pa.float64()),  # what a random pattern per group of the same energy gives in the worst case; null without groups
            ("victim", pa.string()),  # of the worst case, as are the next two
            ("relabel", pa.string()),
            ("defense", pa.string()),
            ("levels", pa.int64()),  # budget, in steps of 255
            ("most", pa.int64()),  # largest change on the exported bytes
            ("psnr", pa.float64()),  # dB
            ("ssim", pa.float64()),
            ("lpips", pa.float64()),  # mean of some images; null where it cannot be measured
            ("passes", pa.int64()),  # image passes of crafting
            ("seconds", pa.float64()),  # of crafting and evaluation
            ("images", pa.int64()),  # in the copy
            ("fingerprint", pa.string()),  # of the crafted perturbation
        ]
    ),
)
