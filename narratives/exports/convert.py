"""Scored rows in another format: the Parquet output of `narratives score`, batch by batch, through a writer."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pyarrow.compute as pc

from narratives import plugins
from narratives.errors import ConfigError
from narratives.records import column_names
from narratives.scored import open_scored, parquet_batches
from narratives.writers import Writer

BATCH_ROWS = 4096


def convert(
    source: str | Path, output: str | Path, *, to: str | None = None, flagged_only: bool = False, overwrite: bool = False
) -> tuple[int, list[Path]]:
    """Write the rows of an output in another format.

    Args:
        source: a Parquet file that `narratives score` wrote.
        output: the file to write; some formats put a second one beside it, such as a labelling interface.
        to: a name out of `plugins.WRITERS` or `plugins.EXPORTS`; None: by the output's ending.
        flagged_only: leave out posts without a label.
        overwrite: replace files that exist.

    Returns:
        The number of rows, and the files, the output first.

    Raises:
        InputError: the source is no such file.
        ConfigError: the format is not known, or a file exists.
        UnknownName: `to` is no format.
    """
    source, output = Path(source), Path(output)
    name = to or plugins.by_suffix(plugins.WRITERS, output.suffix)
    tables = {**plugins.WRITERS, **plugins.EXPORTS}
    if name is None:
        raise ConfigError(f"output {output.name!r}: its ending {output.suffix!r} tells no format; give one with --to: {', '.join(tables)}")
    make: type[Writer] = plugins.load("format", tables, name)
    labels = open_scored(source, format="parquet").require_all()
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{output.name}-", dir=output.parent) as scratch:
        writer = make(Path(scratch) / output.name, labels)
        n_rows = 0
        for batch in parquet_batches(source, n_rows=BATCH_ROWS, columns=column_names(labels)):
            kept = batch.filter(pc.greater(pc.list_value_length(batch.column("labels")), 0)) if flagged_only else batch
            writer.write(kept)
            n_rows += kept.num_rows
        writer.close()
        made = sorted(Path(scratch).iterdir(), key=lambda path: path.name != output.name)
        targets = [output.with_name(path.name) for path in made]
        for target in targets:
            if target.exists() and (not overwrite or target.samefile(source)):
                raise ConfigError(f"output {target}: exists; choose another name or pass --overwrite")
        for path, target in zip(made, targets, strict=True):
            os.replace(path, target)
    return n_rows, targets
