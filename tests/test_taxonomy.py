import pytest

from narratives import taxonomy
from narratives.errors import TaxonomyError, UnknownName
from narratives.taxonomy import Taxonomy

IDS = (
    "us_nato_conflation", "ukraine_comparison_threat", "language_discrimination", "western_manipulation", "disloyal_ally",
    "territorial_claim", "call_for_retaliation", "hegemonic_west", "us_biolabs", "military_recruitment",
)  # fmt: skip


def test_the_shipped_taxonomy_has_the_ten_labels_in_their_order() -> None:
    assert taxonomy.load().ids == IDS


def test_every_shipped_label_is_described_in_three_languages_with_two_examples_and_a_source() -> None:
    for label in taxonomy.load():
        for texts in (label.names, label.definitions, label.not_this):
            assert {language for language, text in texts.items() if text.strip()} == {"en", "ru", "kk"}, label.id
        assert len(label.examples) == 2, label.id
        assert label.sources, label.id


def test_a_users_file_is_read_by_path(taxonomy_file: object) -> None:
    assert taxonomy.load(str(taxonomy_file)).ids == ("rain", "snow")


def test_select_keeps_taxonomy_order(weather: Taxonomy) -> None:
    assert weather.select(("snow", "rain")) == ("rain", "snow")


def test_an_unknown_label_names_the_nearest() -> None:
    with pytest.raises(UnknownName, match="unknown label 'us_biolab'; known: .*Did you mean 'us_biolabs'"):
        taxonomy.load()["us_biolab"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name = 1 2", "not valid TOML"),
        ('name = "empty"', r"no \[\[label\]\] block"),
        ('[[label]]\nid = "A b"', "id is 'A b'; expected lower-case letters"),
        ('[[label]]\nid = "reports"', "is the name of a stance"),
        ('[[label]]\nid = "a"\n[[label]]\nid = "a"', "stands twice"),
        ('[[label]]\nid = "a"\ndefinitoin = "x"', "Did you mean 'definition'"),
        ('[[label]]\nid = "a"\nname = 3', "must be a string or a table by language"),
        ('[[label]]\nid = "a"\nexamples = ["x"]', "an example must be"),
    ],
)
def test_a_malformed_file_is_refused_with_place_and_reason(text: str, message: str) -> None:
    with pytest.raises((TaxonomyError, UnknownName), match=message):
        taxonomy.parse(text, "mine.toml")


def test_an_absent_file_is_a_clear_error() -> None:
    with pytest.raises(TaxonomyError, match="no such file"):
        taxonomy.load("absent.toml")
