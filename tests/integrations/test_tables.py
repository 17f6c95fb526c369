"""`Scorer.as_map` over datasets, pandas and polars."""

from __future__ import annotations

import pickle
from pathlib import Path

import datasets
import pandas as pd
import polars as pl
import pytest

from narratives import Scorer
from narratives.bundle import ModelBundle
from narratives.errors import ConfigError
from narratives.records import column_names

TEXTS = ["Точно говорю: дорога, льёт дождь вчера вечером.", "Рынок открыт для всех в пятницу.", None]


@pytest.fixture(scope="module")
def scorer(linear_bundle: ModelBundle) -> Scorer:
    return Scorer.from_bundle(linear_bundle)


def test_a_dataset_gets_the_outputs_columns(scorer: Scorer) -> None:
    data = datasets.Dataset.from_dict({"text": TEXTS, "n": [1, 2, 3]})
    scored = data.map(scorer.as_map(), batched=True, batch_size=2)
    columns = column_names(scorer.labels)
    assert set(scored.column_names) == {"text", "n", *columns[columns.index("language") :]}
    assert scored["labels"][:] == [["rain"], [], []]
    assert scored["stance"][:] == ["endorses", None, None]
    [first] = scorer.predict(TEXTS[:1])  # type: ignore[arg-type]
    assert scored[0]["p_rain"] == first.probabilities["rain"]
    assert scored[0]["evidence"][0]["text"] == TEXTS[0]


def test_the_same_model_finds_its_cached_results_and_works_in_two_processes(scorer: Scorer) -> None:
    from datasets.fingerprint import Hasher

    assert Hasher.hash(scorer.as_map()) == Hasher.hash(Scorer.from_bundle(scorer.bundle).as_map())
    assert Hasher.hash(scorer.as_map()) != Hasher.hash(scorer.as_map("body"))
    data = datasets.Dataset.from_dict({"text": TEXTS[:2] * 4})
    scored = data.map(scorer.as_map(), batched=True, num_proc=2)
    assert scored["labels"][:] == [["rain"], []] * 4


def test_pandas_and_polars_tables(scorer: Scorer) -> None:
    pandas_table = pd.DataFrame({"body": TEXTS[:2]}, index=[7, 9])
    joined = pandas_table.join(pd.DataFrame(scorer.as_map("body")(pandas_table), index=pandas_table.index))
    assert joined.loc[7, "labels"] == ["rain"]
    polars_table = pl.DataFrame({"body": TEXTS})
    wide = polars_table.hstack(pl.DataFrame(scorer.as_map("body")(polars_table)))
    assert wide["stance"].to_list() == ["endorses", None, None]


def test_a_missing_column_is_named_with_those_found(scorer: Scorer) -> None:
    for table in ({"body": TEXTS}, pd.DataFrame({"body": TEXTS}), pl.DataFrame({"body": TEXTS})):
        with pytest.raises(ConfigError, match=r"no column 'text'; found body. Name it: as_map\(column\)"):
            scorer.as_map()(table)  # type: ignore[arg-type]


def test_a_bundle_replaced_in_between_is_refused(linear_bundle: ModelBundle, tmp_path: Path) -> None:
    import dataclasses

    bundle = linear_bundle.save_pretrained(tmp_path / "model")
    sent = pickle.dumps(Scorer.from_bundle(bundle).as_map())
    other = dataclasses.replace(bundle.calibration, thresholds=(0.9, 0.9))
    dataclasses.replace(bundle, calibration=other).save_pretrained(tmp_path / "model")
    with pytest.raises(ConfigError, match="the bundle was replaced since this function was made; make it again"):
        pickle.loads(sent)({"text": ["а"]})
