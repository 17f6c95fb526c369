"""Which posts a reviewer wants to see: a filter, and the conditions it puts to the index's tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from narratives.errors import ConfigError
from narratives.review.store import REVIEWED

Sort = Literal["uncertain", "seen", "newest", "oldest", "confident", "random", "file"]
Status = Literal["any", "open", "mine", "second", "nobody", "skipped", "noted", "disagree"]

SORTS: tuple[Sort, ...] = ("uncertain", "seen", "newest", "oldest", "confident", "random", "file")
STATUSES: tuple[Status, ...] = ("any", "open", "mine", "second", "nobody", "skipped", "noted", "disagree")
NO_LABEL = "none"
REVIEWED_SQL = "(" + ", ".join(f"'{verdict}'" for verdict in REVIEWED) + ")"
ORDER: Mapping[Sort, str] = {
    "uncertain": "uncertain",
    "seen": "-seen",
    "newest": "-published",
    "oldest": "published",
    "confident": "-confident",
    "random": "hash(p.row + 20231)",
    "file": "p.row",
}
"""What each order counts up by, in SQL; unknown comes last."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which posts, all conditions together; "" and None mean: any. Probability is of the chosen label, without one of the highest.

    `label` is an id, "none" for posts without a label, "flagged" for posts with one.
    """

    label: str = "flagged"
    stance: str = ""
    language: str = ""
    channel: str = ""
    since: int | None = None
    """Microseconds since 1970, UTC; posts without a time pass only where neither bound is set."""
    until: int | None = None
    low: float = 0.0
    high: float = 1.0
    status: Status = "open"
    search: str = ""
    copies: bool = False
    """Whether each repost stands for itself, instead of one for its cluster."""
    sort: Sort = "uncertain"


def conditions(wanted: Filter, labels: Sequence[str], reviewer: str, hits: str | None) -> tuple[str, list[object]]:
    """The filter as SQL over `posts p` and `standing`, with its values.

    Args:
        labels: ids in the order of their bits.
        hits: the table of rows that the search found, None without a search.

    Raises:
        ConfigError: the filter's label is unknown.
    """
    tests, values = ["1 = 1"], list[object]()

    def add(test: str, *of: object) -> None:
        tests.append(test)
        values.extend(of)

    probability = "top"
    if wanted.label in labels:
        number = labels.index(wanted.label)
        probability = f"p{number}"
        # A range of probability asks for what the model did not flag, too.
        if (wanted.low, wanted.high) == (0.0, 1.0):
            add(f"bits & {1 << number} <> 0")
    elif wanted.label in {"flagged", NO_LABEL}:
        add("bits <> 0" if wanted.label == "flagged" else "bits = 0")
    elif wanted.label:
        raise ConfigError(f"unknown label {wanted.label!r}; known: flagged, none, {', '.join(labels)}")
    if wanted.stance:
        add("p.stance = ?", wanted.stance)
    if wanted.language:
        add("p.language = ?", wanted.language)
    if wanted.channel:
        add("p.channel = ?", wanted.channel)
    if wanted.since is not None:
        add("p.published >= ?", wanted.since)
    if wanted.until is not None:
        add("p.published < ?", wanted.until)
    if wanted.low > 0:
        add(f"{probability} >= ?", wanted.low)
    if wanted.high < 1:
        add(f"{probability} <= ?", wanted.high)
    if hits:
        add(f"p.row IN (SELECT row FROM {hits})")  # noqa: S608
    mine = f"SELECT row FROM standing WHERE reviewer = ? AND verdict IN {REVIEWED_SQL}"  # noqa: S608
    skipped = "SELECT row FROM standing WHERE reviewer = ? AND verdict = 'skip'"
    match wanted.status:
        case "open":
            add(f"p.row NOT IN ({mine}) AND p.row NOT IN ({skipped})", reviewer, reviewer)
            if not wanted.copies:  # a copy does not stand in for a post that was skipped
                of_skipped = f"SELECT c.cluster FROM posts c WHERE c.cluster IS NOT NULL AND c.row IN ({skipped})"  # noqa: S608
                add(f"(p.cluster IS NULL OR p.cluster NOT IN ({of_skipped}))", reviewer)
        case "mine":
            add(f"p.row IN ({mine})", reviewer)
        case "second":
            others = f"SELECT row FROM standing WHERE reviewer <> ? AND verdict IN {REVIEWED_SQL}"  # noqa: S608
            add(f"p.row NOT IN ({mine}) AND p.row IN ({others})", reviewer, reviewer)
        case "nobody":
            add(f"p.row NOT IN (SELECT row FROM standing WHERE verdict IN {REVIEWED_SQL})")  # noqa: S608
        case "skipped":
            add(f"p.row IN ({skipped})", reviewer)
        case "noted":
            add("p.row IN (SELECT row FROM standing WHERE noted)")
        case "disagree":
            add(
                f"p.row IN (SELECT row FROM standing WHERE verdict IN {REVIEWED_SQL} GROUP BY row "  # noqa: S608
                "HAVING count(DISTINCT said) FILTER (seen) > 1 AND NOT bool_or(settles) "
                "OR NOT bool_or(seen) AND count(DISTINCT said) > 1 AND NOT bool_or(settles))"
            )
        case "any":
            pass
    return " AND ".join(tests), values
