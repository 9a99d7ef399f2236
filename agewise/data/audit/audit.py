"""The audit of manifests: leaks between the sides of a split, pictures that stand twice, labels in doubt."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from agewise.data.audit.balance import balance, cross_table
from agewise.data.audit.findings import Finding, Severity
from agewise.data.audit.label_checks import (
    Counts,
    age_counts,
    group_counts,
    heaps,
    holes,
    impossible,
    missing_groups,
    poor_pictures,
)
from agewise.data.audit.leak_checks import Twins, find_twins, leaks_of_pictures, leaks_of_subjects, repeats, shared
from agewise.data.audit.scan import Progress, Rows, read_pictures, read_rows
from agewise.data.audit.twins import SIMILARITY, Embed, local_contrast
from agewise.data.manifest import fingerprint

STEP = "audit"
"""What the JSON of an audit says first, as its `step`."""


@dataclass(frozen=True, slots=True)
class Audited:
    """A manifest as it was audited: as it was named, its rows and its SHA-256."""

    name: str
    rows: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Audit:
    """What was found in manifests, the gravest first.

    sides: rows of each side of the split. twins: rows with the same picture. shared: (a side, another, rows of the
    first whose picture is on both, rows of the first). ages: faces of each completed year (123,) by side. age_groups:
    faces of each age group by side. groups: by column, names and the faces of each on each side (names, sides).
    skipped: columns that have too many values for a group.
    """

    manifests: tuple[Audited, ...]
    rows: Rows
    sides: Mapping[str, int]
    findings: tuple[Finding, ...]
    twins: tuple[Twins, ...]
    shared: tuple[tuple[str, str, int, int], ...]
    ages: Mapping[str, Counts]
    age_groups: Mapping[str, Mapping[tuple[float, float], int]]
    groups: Mapping[str, tuple[tuple[str, ...], Counts]]
    skipped: tuple[str, ...]
    similarity: float

    def count(self, severity: Severity) -> int:
        """How many findings are so grave."""
        return sum(finding.severity == severity for finding in self.findings)

    @property
    def leaks(self) -> bool:
        """Whether something stands on both sides of a split."""
        return self.count("leak") > 0


def audit(
    manifests: Sequence[Path | str],
    *,
    groups: Sequence[str] | None = None,
    embed: Embed = local_contrast,
    similarity: float = SIMILARITY,
    progress: Progress = lambda _done, _total: None,
) -> Audit:
    """What is wrong with manifests that are used together.

    A row's side is its `split`; where that is unknown, its manifest is the side. Every picture is decoded once, and
    those with a near hash a second time, to be compared by `embed`: from the cosine `similarity` on they are the same.

    Raises:
        ManifestError: no usable manifest, one that is given twice, no row, or no such group.
        ValueError: the similarity is out of range, or a manifest changed meanwhile.
    """
    if not -1.0 <= similarity <= 1.0:
        raise ValueError(f"the similarity is {similarity}; -1..1 is allowed")
    rows = read_rows([Path(path) for path in manifests], groups)
    names = [str(path) for path in rows.manifests]
    counts = rows.first[1:] - rows.first[:-1]
    audited = [Audited(n, int(k), fingerprint(n)) for n, k in zip(names, counts, strict=True)]
    pictures = read_pictures(rows, progress)
    twins = find_twins(rows, pictures, embed, similarity)
    ages, age_groups = age_counts(rows), group_counts(rows)
    found = [
        *leaks_of_subjects(rows),
        *leaks_of_pictures(rows, twins),
        *repeats(rows, twins),
        *poor_pictures(rows, pictures),
        *impossible(rows),
        *heaps(ages),
        *holes(ages),
        *missing_groups(age_groups),
        *balance(rows),
    ]
    rank: dict[Severity, int] = {"leak": 0, "warning": 1, "note": 2}
    return Audit(
        manifests=tuple(audited),
        rows=rows,
        sides={side: int((rows.side.codes == code).sum()) for code, side in enumerate(rows.side.names)},
        findings=tuple(sorted(found, key=lambda finding: rank[finding.severity])),
        twins=tuple(twins),
        shared=tuple(shared(rows, twins)),
        ages=ages,
        age_groups=age_groups,
        groups={name: (column.names, cross_table(column, rows.side)) for name, column in rows.groups.items()},
        skipped=rows.skipped,
        similarity=similarity,
    )


def find_audit(manifest: Path | str) -> Path | None:
    """The newest JSON of an audit, in the manifest's folder, that was made of this manifest as it is now; else None."""
    path = Path(manifest)
    beside = sorted(path.parent.glob("*.json"), key=lambda file: file.stat().st_mtime, reverse=True)
    known = [(file, hashes) for file in beside if (hashes := _audited(file))]
    content = fingerprint(path) if known else ""
    return next((file for file, hashes in known if content in hashes), None)


def _audited(path: Path) -> set[str]:
    """The fingerprints of the manifests in an audit's JSON; empty for any other file."""
    try:
        with path.open(encoding="utf-8") as stream:
            if not "".join(stream.read(40).split()).startswith(f'{{"step":"{STEP}"'):  # other files may be large
                return set()
            stream.seek(0)
            return {str(one["sha256"]) for one in json.load(stream)["manifests"]}
    except (OSError, ValueError, KeyError, TypeError):  # it cannot be read, or is no audit
        return set()
