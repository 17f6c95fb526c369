"""Who amplifies whom, and who posts the same text at the same time.

An edge of the first network goes from the channel that passes on or points to the channel that is amplified: by a forward, by a link to a
post of its, or by naming it. PageRank (Page et al. 1999) follows these edges, so that a channel is central if central channels amplify
it; betweenness (Freeman 1977) says who bridges.

The second network is that of co-posting, in the manner of the coordination-network toolkit (Graham, QUT Digital Observatory): two
channels are joined if both posted the same text (here: of one cluster, forwards included) within a window of time, weighted
by the number of different texts. It shows synchronous posting; whether it was agreed, it cannot show.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from narratives.errors import MissingDependency
from narratives.report.dump import NOT_NAMED, Flagged, by_time

if TYPE_CHECKING:
    import networkx as nx

WINDOW = timedelta(seconds=60)
"""The toolkit's default."""
KINDS = ("forward", "link", "mention")
_EXACT_NODES = 1500
_SAMPLED_NODES = 300


@dataclass(frozen=True, slots=True)
class Node:
    """A channel. `n_amplified_by`: posts of other channels that amplify it; `n_amplifies`: its own that amplify others."""

    channel: str
    n_posts: int
    n_amplified_by: int
    n_amplifies: int
    pagerank: float
    betweenness: float


@dataclass(frozen=True, slots=True)
class Edge:
    """`by_kind` counts posts of `source` that amplify `target`, by forward, link or mention."""

    source: str
    target: str
    by_kind: dict[str, int]

    @property
    def weight(self) -> int:
        return sum(self.by_kind.values())


@dataclass(frozen=True, slots=True)
class Network:
    """Nodes most amplified first, edges heaviest first. `n_not_named` posts amplify a person, or a source that they do not name."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    n_not_named: int


@dataclass(frozen=True, slots=True)
class CoPosting:
    """Two channels, in order of name, that posted the same text within the window: `n_texts` different ones."""

    a: str
    b: str
    n_texts: int
    median_gap: timedelta
    a_first: int
    """Texts that `a` had first."""


def amplification_network(posts: Iterable[Flagged]) -> Network:
    """The network of forwards, links and mentions of these posts. Denials are left out: to answer is not to amplify."""
    kinds: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    own: Counter[str] = Counter()
    n_not_named = 0
    for post in posts:
        if not post.spreads or post.channel is None or post.channel in NOT_NAMED:
            continue
        own[post.channel] += 1
        if post.source in NOT_NAMED:
            n_not_named += 1
        targets: dict[str, str] = {}
        # One post counts once for a channel, by the strongest tie.
        for kind, names in zip(KINDS, ((post.source,), post.links, post.mentions), strict=True):
            for name in names:
                if name is not None and name not in NOT_NAMED and name != post.channel:
                    targets.setdefault(name, kind)
        for target, kind in targets.items():
            kinds[post.channel, target][kind] += 1
    edges = sorted((Edge(s, t, {k: c[k] for k in KINDS}) for (s, t), c in kinds.items()), key=lambda e: (-e.weight, e.source, e.target))
    return Network(tuple(_nodes(edges, own)), tuple(edges), n_not_named)


def _networkx() -> None:
    try:
        import networkx  # noqa: F401
    except ImportError as error:
        raise MissingDependency("networkx", "report") from error


def _graph(edges: Sequence[Edge]) -> nx.DiGraph[str]:
    _networkx()
    import networkx as nx

    graph: nx.DiGraph[str] = nx.DiGraph()
    for edge in edges:
        graph.add_edge(edge.source, edge.target, weight=edge.weight, **edge.by_kind)
    return graph


def _nodes(edges: Sequence[Edge], own: Counter[str]) -> list[Node]:
    if not edges:
        return []
    graph = _graph(edges)
    import networkx as nx

    rank = nx.pagerank(graph, weight="weight")
    sampled = _SAMPLED_NODES if len(graph) > _EXACT_NODES else None
    between = nx.betweenness_centrality(graph, k=sampled, seed=13)
    nodes = [
        Node(c, own[c], int(graph.in_degree(c, weight="weight")), int(graph.out_degree(c, weight="weight")), rank[c], between[c])
        for c in graph
    ]
    return sorted(nodes, key=lambda node: (-node.n_amplified_by, -node.pagerank, node.channel))


def layout(network: Network, *, n_nodes: int = 40) -> tuple[dict[str, tuple[float, float]], list[Edge]]:
    """Places in [-1, 1]² for the most amplified nodes that are tied to another of them, and the edges between; the same every time.

    By Kamada and Kawai (Information Processing Letters 31:7, 1989), then pushed apart until names beside nodes are readable.
    """
    shown = {node.channel for node in network.nodes[:n_nodes]}
    edges = [e for e in network.edges if e.source in shown and e.target in shown]
    if not edges:
        return {}, []
    graph = _graph(edges)
    import networkx as nx

    undirected = graph.to_undirected()
    lengths = dict(nx.all_pairs_shortest_path_length(undirected))
    far = max(max(row.values()) for row in lengths.values()) + 1
    distances = {a: {b: lengths[a].get(b, far) for b in undirected} for a in undirected}
    places = np.array(list(nx.kamada_kawai_layout(undirected, dist=distances, weight=None).values()))
    return dict(zip(undirected, _apart(places), strict=True)), edges


def _apart(places: npt.NDArray[np.float64]) -> list[tuple[float, float]]:
    """Fill the square, and push pairs apart that are nearer than a name is wide and a line high."""
    room = np.array([0.36, 0.17]) if len(places) <= 25 else np.array([0.24, 0.1])
    for _ in range(200):
        spread = np.maximum(np.ptp(places, axis=0), 1e-9)
        places = 2 * (places - places.min(axis=0)) / spread - 1
        gaps = (places[:, None, :] - places[None, :, :]) / room
        distance = np.sqrt((gaps**2).sum(axis=2)) + np.eye(len(places)) * 9
        close = np.maximum(0, 1 - distance)
        if not close.any():
            break
        push = (gaps / np.maximum(distance, 1e-6)[:, :, None] * close[:, :, None]).sum(axis=1)
        places = places + 0.25 * push * room
    return [(float(x), float(y)) for x, y in places]


def co_posting(posts: Iterable[Flagged], *, window: timedelta = WINDOW, at_least: int = 2) -> list[CoPosting]:
    """Pairs of channels with at least so many different texts posted within the window of each other, most texts first.

    A channel that posts one text several times counts once for it, at the time nearest to the other's.
    """
    texts: dict[int, list[Flagged]] = defaultdict(list)
    for post in sorted(posts, key=by_time):
        if post.at is not None and post.channel is not None and post.channel not in NOT_NAMED:
            texts[post.cluster].append(post)
    gaps: dict[tuple[str, str], dict[int, timedelta]] = defaultdict(dict)
    for cluster, its in texts.items():
        start = 0
        for stop, late in enumerate(its):
            while _gap(its[start], late) > window:
                start += 1
            for early in its[start:stop]:
                if early.channel != late.channel:
                    a, b = sorted((str(early.channel), str(late.channel)))
                    # Signed: positive where a was first.
                    gap = _gap(early, late) if a == early.channel else -_gap(early, late)
                    best = gaps[a, b].get(cluster)
                    if best is None or abs(gap) < abs(best):
                        gaps[a, b][cluster] = gap
    found = [
        CoPosting(
            a,
            b,
            len(by_text),
            sorted(abs(g) for g in by_text.values())[len(by_text) // 2],
            sum(g > timedelta(0) for g in by_text.values()),
        )
        for (a, b), by_text in gaps.items()
        if len(by_text) >= at_least
    ]
    return sorted(found, key=lambda c: (-c.n_texts, c.median_gap, c.a, c.b))


def _gap(early: Flagged, late: Flagged) -> timedelta:
    if early.at is None or late.at is None:
        raise ValueError("co-posting needs times")
    return late.at - early.at


_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write_gexf(network: Network, pairs: Sequence[CoPosting], path: Path) -> None:
    """Write the network for Gephi: weights by kind, centralities, and co-posting as edges of the kind `co_posting` both ways."""
    _networkx()
    import networkx as nx

    graph: nx.MultiDiGraph[str] = nx.MultiDiGraph()

    def name(channel: str) -> str:
        return _NOT_XML.sub("\ufffd", channel)

    for node in network.nodes:
        graph.add_node(
            name(node.channel),
            label=name(node.channel),
            posts=node.n_posts,
            amplified_by=node.n_amplified_by,
            amplifies=node.n_amplifies,
            pagerank=node.pagerank,
            betweenness=node.betweenness,
        )
    for edge in network.edges:
        for kind in KINDS:
            if edge.by_kind[kind]:
                graph.add_edge(name(edge.source), name(edge.target), key=kind, kind=kind, weight=edge.by_kind[kind])
    for pair in pairs:
        for source, target in ((pair.a, pair.b), (pair.b, pair.a)):
            graph.add_edge(name(source), name(target), key="co_posting", kind="co_posting", weight=pair.n_texts)
    # networkx numbers parallel edges by their keys: Gephi wants every edge id to be unique.
    for number, (_, _, data) in enumerate(graph.edges(data=True)):
        data["id"] = str(number)
    nx.write_gexf(graph, path)
