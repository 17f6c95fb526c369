"""STIX 2.1 for threat-intelligence platforms: one bundle with the flagged posts, the narratives they carry, and DISARM techniques.

    identity          narratives itself, the author of everything here
    campaign          a narrative (a label), with `uses` relationships to the attack-patterns of `disarm.TECHNIQUES`
    attack-pattern    a DISARM technique, by its id
    artifact, url     a post's text and link; an observed-data says when it was published, where that is known
    sighting          a post that *endorses* a narrative: of the campaign, with the probability as confidence
    note              a post that reports or refutes it, or without a stance: that is no use of the technique, and must not count as one

A campaign here is a story that is told, not an operation with an author: nobody is named. Everything is labelled `unreviewed`.
Object ids follow from content (UUID version 5), so the same posts give the same ids in the next export. Standard: STIX 2.1, OASIS, 2021.
"""

from __future__ import annotations

import base64
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from narratives import taxonomy
from narratives.addresses import safe_link
from narratives.records import probability_column
from narratives.writers.disarm import TECHNIQUES, page_of
from narratives.writers.json_array import JsonArray

_SPACE = uuid.UUID("6d4fb3b4-0a5d-4c25-9a43-3f5b7f0a8f10")
_SCO_SPACE = uuid.UUID("00abedb4-aa42-466c-9c01-fed23315a9b7")
"""The standard's own namespace for ids of observables (STIX 2.1, section 2.9)."""

Object = dict[str, Any]


class StixWriter:
    def __init__(self, path: Path, labels: tuple[str, ...]) -> None:
        self._now = _time(datetime.now(UTC))
        before = f'{{"type": "bundle", "id": "bundle--{uuid.uuid4()}", "objects": ['
        self._objects = JsonArray(path, before.encode(), b"]}")
        self._seen: set[str] = set()
        self._author = _id("identity", "narratives")
        self._add(
            self._object(
                "identity",
                self._author,
                name="narratives",
                identity_class="system",
                description="A classifier; its findings are unreviewed.",
            )
        )
        self._names = _names(labels)

    def write(self, batch: pa.RecordBatch) -> None:
        for row in batch.to_pylist():
            if row["labels"]:
                self._post(row)

    def close(self) -> None:
        self._objects.close()

    # ---- objects ---------------------------------------------------------------------------------------------------

    def _post(self, row: dict[str, Any]) -> None:
        observables = [_artifact(row["text"])]
        if (link := safe_link(row["url"])) is not None:
            observables.append(_sco("url", {"value": link}))
        for observable in observables:
            self._add(observable)
        refs = [observable["id"] for observable in observables]
        key = "|".join(str(row[name]) for name in ("channel", "id", "text"))
        published = _time(row["published_at"]) if row["published_at"] is not None else None
        seen: str | None = None
        if published is not None:
            seen = _id("observed-data", key)
            self._add(
                self._object("observed-data", seen, first_observed=published, last_observed=published, number_observed=1, object_refs=refs)
            )
        for label in row["labels"]:
            campaign = self._campaign(label)
            confidence = min(100, max(0, round(100 * row[probability_column(label)])))
            common = {
                "confidence": confidence,
                "labels": ["unreviewed", *filter(None, [row["stance"]])],
                "external_references": [_source(row)],
            }
            sentences = "\n".join(item["text"] for item in row["evidence"] if item["label"] == label) or row["text"]
            if row["stance"] == "endorses":
                times = {"first_seen": published, "last_seen": published} if published is not None else {}
                data = {"observed_data_refs": [seen]} if seen is not None else {}
                sighting = self._object(
                    "sighting", _id("sighting", f"{key}|{label}"), sighting_of_ref=campaign, count=1, description=sentences,
                    where_sighted_refs=[self._author], **times, **data, **common,
                )  # fmt: skip
                self._add(sighting)
            else:
                abstract = f"A post {row['stance'] or 'carries'} the narrative {label}"
                note = self._object(
                    "note", _id("note", f"{key}|{label}"), abstract=abstract, content=sentences,
                    object_refs=[campaign, *([seen] if seen is not None else refs)], **common,
                )  # fmt: skip
                self._add(note)

    def _campaign(self, label: str) -> str:
        campaign = _id("campaign", label)
        if campaign in self._seen:
            return campaign
        name, definition = self._names[label]
        self._add(self._object("campaign", campaign, name=name, description=definition, aliases=[label], labels=["narrative"]))
        for technique, technique_name in TECHNIQUES.get(label, ()):
            pattern = _id("attack-pattern", technique)
            reference = {"source_name": "DISARM", "external_id": technique, "url": page_of(technique)}
            self._add(self._object("attack-pattern", pattern, name=technique_name, external_references=[reference]))
            relationship = _id("relationship", f"{label}|{technique}")
            self._add(self._object("relationship", relationship, relationship_type="uses", source_ref=campaign, target_ref=pattern))
        return campaign

    def _object(self, kind: str, identifier: str, **properties: object) -> Object:
        author = {} if kind == "identity" else {"created_by_ref": self._author}
        return {"type": kind, "spec_version": "2.1", "id": identifier, "created": self._now, "modified": self._now, **author, **properties}

    def _add(self, item: Object) -> None:
        if item["id"] not in self._seen:
            self._seen.add(item["id"])
            self._objects.add(item)


def _names(labels: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Name and definition of each label; a label that the shipped taxonomy does not have is named by its id."""
    known = {label.id: (label.name("en"), label.definition("en")) for label in taxonomy.load("kazakhstan")}
    return {label: known.get(label, (label, f"The narrative labelled {label}.")) for label in labels}


def _artifact(text: str) -> Object:
    return _sco("artifact", {"mime_type": "text/plain; charset=utf-8", "payload_bin": base64.b64encode(text.encode()).decode()})


def _sco(kind: str, properties: dict[str, str]) -> Object:
    key = "|".join(f"{name}={value}" for name, value in sorted(properties.items()))
    return {"type": kind, "spec_version": "2.1", "id": f"{kind}--{uuid.uuid5(_SCO_SPACE, key)}", **properties}


def _source(row: dict[str, Any]) -> dict[str, str]:
    found = {"source_name": row["channel"] or "post"}
    if row["id"] is not None:
        found["external_id"] = row["id"]
    if (link := safe_link(row["url"])) is not None:
        found["url"] = link
    if len(found) == 1:
        found["description"] = "no id and no link known"
    return found


def _id(kind: str, key: str) -> str:
    return f"{kind}--{uuid.uuid5(_SPACE, f'{kind}|{key}')}"


def _time(value: datetime) -> str:
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{value.microsecond // 1000:03}Z"
