from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import networkx as nx
import pytest

from narratives.report.dump import collect
from narratives.report.network import amplification_network, co_posting, layout, write_gexf
from tests.report.conftest import Write, at, said

TEXTS = [" ".join(f"слово{i}x{j}" for j in range(12)) for i in range(4)]


def test_edges_lead_from_who_passes_on_to_whom_and_know_how(write: Write) -> None:
    dump = collect(
        write(
            [
                said(TEXTS[0], "star", at(0), "rain"),
                said(TEXTS[0], "fan", at(1), "rain", source="star", source_at=at(0)),
                said(TEXTS[1] + " t.me/star/9 и @star", "fan", at(2), "rain"),
                said(TEXTS[2] + " смотрите @Star", "other", at(3), "rain"),
                said(TEXTS[3] + " t.me/star/9", "ministry", at(4), "rain", stance="refutes"),
                said(TEXTS[3] + " @nobody_knows", "fan", at(5), "rain", source="(private)"),
            ]
        )
    )
    network = amplification_network(dump.flagged)
    assert [(e.source, e.target, e.by_kind) for e in network.edges] == [
        ("fan", "star", {"forward": 1, "link": 1, "mention": 0}),
        ("other", "star", {"forward": 0, "link": 0, "mention": 1}),
    ]
    star = network.nodes[0]
    assert (star.channel, star.n_amplified_by, star.n_amplifies, star.n_posts) == ("star", 3, 0, 1)
    assert star.pagerank > network.nodes[1].pagerank
    assert network.n_not_named == 1


def test_channels_that_post_together_are_found_and_chance_is_not(write: Write) -> None:
    posts = []
    for i, text in enumerate(TEXTS[:3]):
        posts += [said(text, "one", at(i), "rain"), said(text, "two", at(i, seconds=20), "rain")]
        posts += [said(text, "late", at(i, seconds=500), "rain")]
    posts += [said(TEXTS[3], "one", at(9), "rain"), said(TEXTS[3], "once", at(9, seconds=5), "rain")]
    dump = collect(write(posts))
    [pair] = co_posting(dump.flagged)
    assert (pair.a, pair.b, pair.n_texts, pair.median_gap, pair.a_first) == ("one", "two", 3, timedelta(seconds=20), 3)
    wide = co_posting(dump.flagged, window=timedelta(minutes=10))
    assert {(p.a, p.b): p.n_texts for p in wide} == {("one", "two"): 3, ("late", "one"): 3, ("late", "two"): 3}


def test_an_empty_network_is_one(write: Write) -> None:
    network = amplification_network(collect(write([said(TEXTS[0], "a", at(0), "rain")])).flagged)
    assert (network.nodes, network.edges, layout(network)) == ((), (), ({}, []))


def test_names_on_the_map_do_not_lie_on_each_other(write: Write) -> None:
    posts = [said(TEXTS[i % 4], f"c{i}", at(i), "rain", source=f"c{(i * 7) % 5}", source_at=at(-1)) for i in range(5, 20)]
    places, _ = layout(amplification_network(collect(write(posts)).flagged))
    spots = list(places.values())
    assert len(spots) >= 15
    assert all(abs(a[0] - b[0]) > 0.15 or abs(a[1] - b[1]) > 0.05 for i, a in enumerate(spots) for b in spots[:i])


def test_gephi_gets_every_tie_by_kind_with_its_weight(write: Write, tmp_path: Path) -> None:
    hostile = 'a"<&>\x00\x1bб'
    posts = [said(TEXTS[0], hostile, at(0), "rain", source="star", source_at=at(-1))]
    for i in range(2):
        posts += [
            said(TEXTS[i + 1], "one", at(i), "rain", source="star"),
            said(TEXTS[i + 1], "two", at(i, seconds=9), "rain", source="star"),
        ]
    dump = collect(write(posts))
    write_gexf(amplification_network(dump.flagged), co_posting(dump.flagged), tmp_path / "n.gexf")
    graph = nx.read_gexf(tmp_path / "n.gexf")
    edges = {(a, b, data["kind"]): data["weight"] for a, b, data in graph.edges(data=True)}
    assert edges["one", "star", "forward"] == 2
    assert edges["one", "two", "co_posting"] == edges["two", "one", "co_posting"] == 2
    assert graph.nodes["star"]["amplified_by"] == 5
    assert graph.nodes["star"]["pagerank"] == pytest.approx(max(d["pagerank"] for _, d in graph.nodes(data=True)))
    assert any(node.startswith('a"<&>') for node in graph)
