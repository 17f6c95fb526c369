"""Who was first, who copied, who denied: on dumps of a few posts where it is plain."""

from __future__ import annotations

from datetime import timedelta

from narratives.report.amplification import bin_starts, bin_width, count_views, measure
from narratives.report.dump import accounts_in, collect, fetch
from narratives.report.spread import Confidence, copies, denials, fastest_spreaders, first_posters, representatives
from tests.report.conftest import Write, at, said

STORY = "Точно говорю вам всем: над портом с утра льёт сильный дождь и не думает переставать"
OTHER = "В горах выпал первый снег, соседи уже достали санки и лопаты, а дорогу так и не чистят"


def test_accounts_are_found_in_links_and_names() -> None:
    links, mentions = accounts_in(
        "см. https://t.me/kanal_one/12, t.me/s/Kanal_Two/7, t.me/c/1234567/8, vk.com/wall-55_1, t.me/chat_name и @some_name; "
        "не адрес: mail@example.com, t.me/+AbCdEf, t.me/joinchat/AAAA"
    )
    assert links == ("kanal_one", "Kanal_Two", "channel1234567", "club55")
    assert mentions == ("chat_name", "some_name")


def test_an_original_outside_the_dump_is_first_with_its_confidence(write: Write) -> None:
    source = {"source": "origin", "source_at": at(0)}
    path = write(
        [
            said(STORY, "late", at(5), "rain", **source),
            said(STORY, "early", at(2), "rain", **source),
            said(OTHER, "early", at(9), "snow", source="hidden", source_at=at(8)),
            said(OTHER, "late", at(10), "snow", source="undated"),
        ]
    )
    dump = collect(path)
    found = first_posters(dump.of("rain"))
    assert [(a.channel, a.at, a.confidence) for a in found] == [
        ("origin", at(0), Confidence.STATED_BY_FORWARDS),
        ("early", at(2), Confidence.IN_THE_DUMP),
        ("late", at(5), Confidence.IN_THE_DUMP),
    ]
    assert found[0].views is None
    snow = {a.channel: a for a in first_posters(dump.of("snow"))}
    assert snow["hidden"].confidence is Confidence.STATED_BY_A_FORWARD
    assert (snow["undated"].confidence, snow["undated"].at) == (Confidence.NO_LATER_THAN, at(10))


def test_an_original_in_the_dump_is_one_appearance_though_ids_and_names_differ(write: Write) -> None:
    path = write(
        [
            said(STORY, "Origin", at(0), "rain", id="777_5"),
            said(STORY, "copycat", at(1), "rain", id="888_1", source="channel777", source_at=at(0, seconds=2)),
        ]
    )
    dump = collect(path)
    assert [(a.channel, a.confidence) for a in first_posters(dump.of("rain"))] == [
        ("Origin", Confidence.IN_THE_DUMP),
        ("copycat", Confidence.IN_THE_DUMP),
    ]
    assert dump.flagged[1].source == "Origin"


def test_people_are_counted_and_not_named(write: Write) -> None:
    path = write(
        [
            said(STORY + " @ivan_ivanov https://t.me/ivan_ivanov", "kanal", at(1), "rain", source="(private)", source_at=at(0)),
            said(OTHER, "(private)", at(2), "rain"),
        ]
    )
    dump = collect(path)
    assert [a.channel for a in first_posters(dump.of("rain"))] == ["(not named)", "kanal"]
    assert dump.flagged[0].mentions == ()
    assert {c.channel for c in measure(dump, "rain", None).channels} == {"kanal", "(not named)"}


def test_only_sure_denials_of_channels_that_did_not_spread_count(write: Write) -> None:
    path = write(
        [
            said("дождь " * 3, "gossip", at(0), "rain"),
            said("нет дождя", "gossip", at(1), "rain", stance="refutes", sure=0.99),
            said("нет дождя?", "doubt", at(2), "rain", stance="refutes", sure=0.5),
            said("нет никакого дождя", "ministry", at(3), "rain", stance="refutes", sure=0.95),
            said("дождь же", "ministry", at(4), "rain"),
        ]
    )
    dump = collect(path)
    assert [p.channel for p in denials("rain", dump.flagged)] == ["ministry"]
    assert [a.channel for a in first_posters(dump.of("rain"))] == ["gossip", "ministry"]


def test_a_channel_that_spreads_another_story_is_no_sure_denier_and_none_denies_before_the_first_post(write: Write) -> None:
    path = write(
        [
            said("нет никакого снега", "early", at(0), "snow", stance="refutes", sure=0.99),
            said("дождь " * 3, "gossip", at(1), "rain"),
            said("снег " * 3, "other", at(2), "snow"),
            said("нет снега", "gossip", at(3), "snow", stance="refutes", sure=0.99),
            said("снега нет", "ministry", at(4), "snow", stance="refutes", sure=0.99),
        ]
    )
    assert [p.channel for p in denials("snow", collect(path).flagged)] == ["ministry"]


def test_posts_without_a_channel_are_first_too_and_their_denials_are_kept(write: Write) -> None:
    path = write(
        [
            said(STORY, None, at(0), "rain"),
            said(STORY, "kanal", at(1), "rain"),
            said("нет никакого дождя", None, at(2), "rain", stance="refutes", sure=0.95),
            said("дождя нет вовсе", "(private)", at(3), "rain", stance="refutes", sure=0.95),
        ]
    )
    dump = collect(path)
    assert [(a.channel, a.at) for a in first_posters(dump.of("rain"))] == [("(not named)", at(0)), ("kanal", at(1))]
    assert [p.at for p in denials("rain", dump.flagged)] == [at(2), at(3)]


def test_a_channel_whose_number_begins_with_100_is_found_by_it(write: Write) -> None:
    path = write(
        [
            said(STORY, "Origin", at(0), "rain", id="1007770001_5"),
            said(OTHER, "Marked", at(0), "rain", id="-1001234_5"),
            said("иное", "copycat", at(1), "rain", source="channel1007770001", source_at=at(0)),
            said("иное ещё", "copycat", at(1), "rain", source="channel1234", source_at=at(0)),
        ]
    )
    assert [p.source for p in collect(path).flagged] == [None, None, "Origin", "Marked"]


def test_copies_know_their_first_their_most_seen_and_what_was_not_flagged(write: Write) -> None:
    path = write(
        [
            said(STORY, "seen", at(3), "rain", views=900, source="first", source_at=at(0)),
            said(STORY, "first", at(0), "rain", views=None),
            said(STORY + "!", "third", at(1), "rain", views=50),
            said(STORY, "missed", at(4)),
            said(OTHER, "first", at(1), "rain"),
        ]
    )
    dump = collect(path)
    [text] = copies(dump)
    assert [p.channel for p in text.posts] == ["first", "third", "seen"]
    assert (text.most_seen.channel, text.first[0].channel, text.n_unflagged, text.n_forwards) == ("seen", "first", 1, 1)
    assert (text.views.total, text.views.own, text.views.of_forwards, text.views.n_unknown) == (950, 50, 900, 1)


def test_the_fastest_are_ranked_by_median_delay_behind_the_first(write: Write) -> None:
    posts = []
    for i, text in enumerate((STORY, OTHER)):
        posts += [said(text, "source", at(i * 5), "rain"), said(text, "quick", at(i * 5, seconds=40 + 20 * i), "rain")]
        posts += [said(text, "slow", at(i * 5 + 2), "rain")]
    found = fastest_spreaders(copies(collect(write(posts))))
    assert [(s.channel, s.n_texts, s.median_delay) for s in found] == [
        ("quick", 2, timedelta(seconds=50)),
        ("slow", 2, timedelta(hours=2)),
    ]


def test_unknown_views_are_unknown_and_never_nought(write: Write) -> None:
    dump = collect(write([said(STORY, "a", at(0), "rain", views=None), said(OTHER, "b", at(1), "rain", views=None)]))
    assert count_views(dump.flagged).total is None
    narrative = measure(dump, "rain", None)
    assert (narrative.views.total, narrative.views.n_unknown, narrative.all_languages.corrected) == (None, 2, None)


def test_numbers_of_a_narrative_add_up(write: Write) -> None:
    posts = [said(f"{STORY} {i}", f"c{i % 3}", at(i), "rain", views=10, language="kk" if i % 2 else "ru") for i in range(6)]
    posts += [said("нет дождя", "m", at(7), "rain", stance="refutes", views=1000), said("просто пост", "m", at(30))]
    dump = collect(write(posts))
    narrative = measure(dump, "rain", None)
    assert narrative.by_stance == {"endorses": 6, "reports": 0, "refutes": 1}
    assert (narrative.views.total, narrative.views_of_all.total) == (60, 1060)
    assert sum(b.n_posts for b in narrative.bins) == 7
    assert (narrative.bins[-1].cumulative_views, narrative.bins[0].cumulative_views) == (60, 10)
    assert {c.language: (c.n_posts, c.n_of_language) for c in narrative.cells} == {"all": (7, 8), "ru": (4, 5), "kk": (3, 3)}
    assert sum(c.n_posts for c in narrative.channels) == 7
    assert narrative.n_copies == 5
    assert (bin_width(dump), len(bin_starts(dump))) == (timedelta(hours=1), 31)


def test_long_dumps_get_wider_bins(write: Write) -> None:
    dump = collect(write([said(STORY, "a", at(0), "rain"), said(OTHER, "a", at(24 * 100), "rain")]))
    assert bin_width(dump) == timedelta(hours=12)
    assert len(bin_starts(dump)) <= 240


def test_representatives_are_different_texts_and_show_denials(write: Write) -> None:
    posts = [said(f"{i} " + " ".join(f"слово{i}x{j}" for j in range(12)), "a", at(i), "rain") for i in range(12)]
    posts += [said(posts[0].post.text, "b", at(20), "rain"), said("нет " + STORY, "m", at(21), "rain", stance="refutes")]
    found = representatives(collect(write(posts)).of("rain"), "rain")
    assert len(found) == 10
    assert len({p.cluster for p in found}) == 10
    assert [p.stance for p in found].count("refutes") == 1


def test_posts_are_fetched_by_row(write: Write) -> None:
    path = write([said("ноль", "a", at(0)), said("один", "a", at(1)), said("два", "a", at(2))])
    assert {n: row.text for n, row in fetch(path, [2, 0]).items()} == {0: "ноль", 2: "два"}
    assert fetch(path, []) == {}
