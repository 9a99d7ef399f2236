"""A report as JSON for programs, Markdown for repositories and one self-contained HTML page for people."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from agewise.ages import LEVEL
from agewise.data.replacing import replacing
from agewise.evaluation.groups import CONFIDENCE, FEWEST_FACES, MAIN
from agewise.evaluation.page import Section, Table, html, markdown
from agewise.evaluation.report import tables as report_tables
from agewise.evaluation.report.as_json import as_json
from agewise.evaluation.report.calibration_figures import calibration_pictures, risk_picture
from agewise.evaluation.report.figures import by_group, error_pictures
from agewise.evaluation.report.summary import no_interval, summary
from agewise.evaluation.report.values import AGE, METRICS, Report, as_shown, counted
from agewise.evaluation.report.worst_faces import pictures_of
from agewise.evaluation.robustness import report as robustness_report
from agewise.evaluation.robustness.figure import heat_pictures
from agewise.evaluation.robustness.scores import Robustness


def write_report(
    report: Report, folder: Path | str, *, manifest: Path | None = None, robustness: Robustness | None = None
) -> list[Path]:
    """Writes report.json, report.md and report.html into a folder, each complete or absent.

    manifest: the one that was predicted, whose pictures of the worst faces then are in the page: people can be seen
    there. robustness: what the same model scores on the same manifest corrupted (`robustness_of`).
    """
    faces = pictures_of(manifest, report.sha256, [one.row for one in report.worst]) if manifest else None
    texts = {
        "json": to_json(report, robustness),
        "md": to_markdown(report, robustness),
        "html": to_html(report, faces, robustness),
    }
    written = []
    for suffix, text in texts.items():
        path = Path(folder) / f"report.{suffix}"
        with replacing(path) as partial:
            partial.write_text(text, encoding="utf-8")
        written.append(path)
    return written


def to_json(report: Report, robustness: Robustness | None = None) -> str:
    """The scores as strict JSON: shares are 0..1, an interval is [low, high] or null."""
    return as_json(report, summary(report), json.loads(robustness_report.to_json(robustness)) if robustness else None)


def to_markdown(report: Report, robustness: Robustness | None = None) -> str:
    """The scores as Markdown tables."""
    found = [*tables(report), *(corruption_tables(robustness) if robustness else [])]
    return markdown(heading(report), facts(report), found, summary=summary(report))


def to_html(report: Report, faces: Mapping[int, bytes] | None = None, robustness: Robustness | None = None) -> str:
    """One page with the figures inside it, which loads nothing from anywhere.

    faces: JPEG files by row of the manifest, to be shown; None for none.
    """
    parts = list(sections(report, robustness))
    more: dict[str, Any] = {"summary": summary(report), "sections": parts, "cards": _cards(report, faces)}
    return html(heading(report), facts(report), [], {}, "report/report.html", **more)


def heading(report: Report) -> str:
    """What the page is of."""
    return f"Ages by {report.model} on {report.manifest}"


def facts(report: Report) -> list[str]:
    """What a reader must know of the scores: N, the dropped faces and why, the files, the intervals, the gaps."""
    overall = report.overall
    why = counted(overall.dropped)
    gaps = [
        f"Gap by {column}: {gap.worst} is {as_shown(gap.metric, gap.difference)} years above {gap.best} "
        f"({METRICS[gap.metric].title}; groups of at least {FEWEST_FACES} faces)"
        for column, gap in report.gaps.items()
    ]
    mixed = ". These are different questions, mixed in one score" if len(report.kinds) > 1 else ""
    kinds = ", ".join(f"{count} {kind}" for kind, count in report.kinds.items())
    return [
        f"{overall.n} faces scored, {sum(overall.dropped.values())} dropped" + (f": {why}" if why else ""),
        f"Known of each face: {'its age' if report.labels == 'age' else 'only its age group'}; "
        f"scored is the {report.decision} of its distribution",
        f"Manifest {report.manifest}, SHA-256 {report.sha256}; predictions {report.predictions}",
        *([f"Protocol: {report.protocol}"] if report.protocol else []),
        f"Brackets: {CONFIDENCE:.0%} percentile bootstrap intervals, {report.resampled} resampled",
        *([no_interval(report)] if no_interval(report) else []),
        report.audit,
        *([f"Kinds of age: {kinds}{mixed}"] if report.kinds else []),
        *gaps,
        *(f"The manifest has no column {column}" for column in report.absent),
    ]


def tables(report: Report) -> Iterator[Table]:
    """Each table as its title, its head and its rows of text; the first one is of all faces."""
    yield report_tables.everyone(report)
    for column, scores in report.parts().items():
        yield report_tables.by(column, scores, report)
    yield report_tables.gaps(report)
    yield from report_tables.curves(report.curves, METRICS[MAIN[report.labels]].title)
    yield report_tables.worst(report)


def sections(report: Report, robustness: Robustness | None = None) -> Iterator[Section]:
    """The parts of the page, with the pictures."""
    found = {table[0]: table for table in tables(report)}
    yield Section("All faces", tables=[found["All faces"]])
    shown = [found[name] for name in (f"By {AGE}", "Agreement", "Cumulative score") if name in found]
    yield Section("Error", pictures=error_pictures(report), tables=shown)
    groups = {column: scores for column, scores in report.parts().items() if column != AGE}
    pictures = [by_group(column, scores, report) for column, scores in groups.items()]
    yield Section(
        "Groups", pictures=pictures, tables=[*(found[f"By {name}"] for name in groups), found["Worst groups and gaps"]]
    )
    why = "" if report.curves.reliability else "Only age groups are known: whether intervals hold cannot be said."
    drawn = [*calibration_pictures(report), risk_picture(report.curves.risk, report)]
    stated = [found[name] for name in ("Stated and found coverage", "Risk and coverage") if name in found]
    yield Section("Uncertainty", why, drawn, stated)
    if robustness:
        yield _corruptions(robustness)
    worst = report_tables.worst(report)
    yield Section(worst[0], "" if report.worst else "No prediction is off.", tables=[worst] if report.worst else [])


def corruption_tables(found: Robustness) -> list[Table]:
    """The means and the kinds of corruptions."""
    means, kinds, *_ = robustness_report.tables(found)
    return [(f"Corruptions: {name}", head, rows) for name, head, rows in (means, kinds)]


def _corruptions(found: Robustness) -> Section:
    says = ". ".join(robustness_report.facts(found)[:2]) + "."
    return Section("Corruptions", says, heat_pictures(found), corruption_tables(found))


def _cards(report: Report, faces: Mapping[int, bytes] | None) -> list[dict[str, Any]]:
    """What the page says of each face that it shows."""
    if faces is None:
        return []
    jpegs = {row: base64.b64encode(jpeg).decode() for row, jpeg in faces.items()}
    return [{"face": one, "jpeg": jpegs.get(one.row, ""), "level": f"{LEVEL:.0%}"} for one in report.worst]
