"""The students of benchmarks/distillation.py, and the page that says what their labels were worth."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from agewise.ages import AgeDistribution
from agewise.data.manifest import distributions, numbers, read_manifest
from agewise.metrics import bootstrap, crps_values, errors, excesses, inside_group

Floats = NDArray[np.float64]

CORPORA = {"utkface-dev": ("fairface-val", "studio"), "fairface-train": ("utkface-dev", "studio")}
"""What is learned from, and the sets on which its students are scored, none of them of the same source."""
SETS = ("fairface-val", "studio")
"""What is scored on and never learned from."""
MEMBER = "distribution"
"""The student whose costs are measured: all of them are the same network."""
TEACHER = "the teacher"
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Arm:
    """The labels of a corpus that a student learns, by a recipe and its changes; and the arms that it should beat."""

    corpus: str
    labels: str
    recipe: str
    changes: tuple[str, ...] = ()
    against: tuple[str, ...] = ()


AS_IS = ("loss={name='distribution'}",)
DLDL = ("loss={name='distribution',sigma=2.0}",)
ARMS: dict[str, Arm] = {
    "own, L2": Arm("utkface-dev", "own", "distil-mean"),
    "own, DLDL": Arm("utkface-dev", "own", "distil-soft", DLDL),
    "own, 10 % wrong, L2": Arm("utkface-dev", "own-10", "distil-mean"),
    "own, 30 % wrong, L2": Arm("utkface-dev", "own-30", "distil-mean"),
    "mean": Arm("utkface-dev", "taught", "distil-mean", (), ("own, L2", "own, 10 % wrong, L2", "own, 30 % wrong, L2")),
    "distribution": Arm("utkface-dev", "taught", "distil-soft", AS_IS, ("own, DLDL", "mean")),
    "soft": Arm("utkface-dev", "taught", "distil-soft", (), ("distribution",)),
    "bounded": Arm("utkface-dev", "taught", "distil-bounded", (), ("distribution",)),
    "weighted": Arm("utkface-dev", "taught", "distil-weighted", (), ("distribution",)),
    "widened": Arm("utkface-dev", "taught", "distil-widened", (), ("distribution",)),
    "groups": Arm("fairface-train", "groups", "distil-soft", AS_IS),
    "mid-points": Arm("fairface-train", "middles", "distil-soft", DLDL),
    "distribution, seen": Arm("fairface-train", "taught", "distil-soft", AS_IS, ("groups", "mid-points")),
    "one member, unseen": Arm(
        "fairface-train", "unseen", "distil-soft", AS_IS, ("groups", "mid-points", "distribution, seen")
    ),
}
"""All of them are one network, on the same faces, with the same optimiser and as many steps."""


def slug(name: str) -> str:
    """An arm's name as a folder."""
    return re.sub("[^a-z0-9]+", "-", name.lower())


@dataclass(frozen=True, slots=True)
class Difference:
    """An arm's error less another's on the same faces, in years: below 0 is better.

    seeds: the t interval of the means, a pair a seed; None of one seed. faces: the bootstrap over faces, or persons, of
    the mean over the seeds.
    """

    arm: str
    against: str
    given: str
    value: float
    seeds: tuple[float, float] | None
    faces: tuple[float, float] | None

    @property
    def verdict(self) -> str:
        """Better or worse where both intervals leave 0 out on the same side."""
        known = [bounds for bounds in (self.seeds, self.faces) if bounds is not None]
        if self.seeds is None or not known:
            return "one seed"
        if all(high < 0 for _, high in known):
            return "better"
        return "worse" if all(low > 0 for low, _ in known) else "not told apart"

    def line(self) -> str:
        """A row of a table."""
        cells = [self.arm, self.against, self.given, f"{self.value:+.2f}", said(self.seeds), said(self.faces)]
        return f"| {' | '.join(cells)} | {self.verdict} |"


class Answers:
    """What the students and the teacher said, and the errors that they made, in years a face."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.seeds: dict[str, list[Path]] = {}
        for name in ARMS:
            found = sorted((place / "runs").glob(f"{slug(name)}-[0-9]*/answers.npz"), key=lambda path: path.parent.name)
            found = [path for path in found if path.parent.name.rpartition("-")[0] == slug(name)]
            if found:
                self.seeds[name] = found
        self.rows = cache(self._rows)
        self.ages = cache(self._ages)

    def _rows(self, given: str) -> pa.Table:
        return read_manifest(self.place / "taught" / f"{given}.parquet")

    def _ages(self, name: str, given: str) -> list[AgeDistribution]:
        """The answers to a set, one a seed."""
        if name == TEACHER:
            return [distributions(self.rows(given))]
        found = []
        for path in self.seeds[name]:
            with np.load(path) as kept:
                found.append(AgeDistribution(kept[given]))
        return found

    def errors(self, name: str, given: str) -> Floats:
        """Years (S, N) from the age, or outside the group, of each seed and face."""
        rows = self.rows(given)
        true, low, high = (numbers(rows, column) for column in ("age", "age_low", "age_high"))
        grouped = np.isnan(true).all()
        return np.stack([
            excesses(ages.mean, low, high) if grouped else np.abs(errors(ages.mean, true))
            for ages in self.ages(name, given)
        ])  # fmt: skip

    def kinds(self, given: str) -> tuple[str, str]:
        """The names of a set's two scores."""
        grouped = np.isnan(numbers(self.rows(given), "age")).all()
        return ("excess", "inside, %") if grouped else ("MAE", "CRPS")

    def others(self, name: str, given: str) -> Floats:
        """Beside the error (S,): the share inside the group in percent, or the CRPS in years, of each seed."""
        rows = self.rows(given)
        true, low, high = (numbers(rows, column) for column in ("age", "age_low", "age_high"))
        if np.isnan(true).all():
            inside = [inside_group(ages.mean, low, high) for ages in self.ages(name, given)]
            return 100 * np.array([one.mean() for one in inside])
        return np.array([crps_values(ages, true).mean() for ages in self.ages(name, given)])

    def persons(self, given: str) -> list[str] | None:
        """Whose each face is, where that is known."""
        rows = self.rows(given)
        known = "subject" in rows.column_names and not rows["subject"].null_count
        return [str(name) for name in rows["subject"].to_pylist()] if known else None

    def less(self, arm: str, against: str, given: str) -> Difference:
        """How much an arm's error is above another's, seeds paired as far as both have them."""
        one, other = self.errors(arm, given), self.errors(against, given)
        count = len(one) if against == TEACHER else min(len(one), len(other))
        apart = one[:count] - other[: 1 if against == TEACHER else count]
        found = bootstrap(apart.mean(axis=0), groups=self.persons(given), level=LEVEL)
        return Difference(arm, against, given, float(apart.mean()), t_interval(apart.mean(axis=1)), found)


def t_interval(values: Floats) -> tuple[float, float] | None:
    """Student's interval of the mean of some seeds' values (S,); None of one."""
    if len(values) < 2:
        return None
    from scipy.stats import t

    half = float(t.ppf((1 + LEVEL) / 2, len(values) - 1)) * float(values.std(ddof=1)) / len(values) ** 0.5
    return float(values.mean()) - half, float(values.mean()) + half


def page(place: Path, settings: dict[str, Any]) -> str:
    """The page: tables and facts, in the words of the template."""
    answers = Answers(place)
    found = list(differences(answers))
    gaps = [answers.less(arm, TEACHER, given) for arm, given in scored(answers) if ARMS[arm].labels == "taught"]
    seeds = sorted({len(runs) for runs in answers.seeds.values()})
    facts: dict[str, Any] = {
        **settings,
        "seeds": " to ".join(str(count) for count in (seeds[:1] + seeds[-1:] if len(seeds) > 1 else seeds)),
        "forward": scores(answers, "utkface-dev"),
        "reverse": scores(answers, "fairface-train"),
        "differences": "\n".join(one.line() for one in found),
        "gaps": "\n".join(one.line() for one in gaps),
        "cost": costs(place),
        "persons": len(set(answers.persons("studio") or ())),
        "missing": "; ".join(name for name in ARMS if name not in answers.seeds) or "none",
        "failed": failed(found),
        **{f"n-{given}": f"{len(answers.rows(given)):,}" for given in ("fairface-val", "studio", "utkface-dev")},
    }
    text = (Path(__file__).parent / "distillation.template.md").read_text()
    for key, value in facts.items():
        text = text.replace(f"<<{key}>>", str(value))
    return text


def scored(answers: Answers) -> Iterator[tuple[str, str]]:
    """Every student that there is, with each set that it was scored on."""
    yield from ((name, given) for name in answers.seeds for given in CORPORA[ARMS[name].corpus])


def differences(answers: Answers) -> Iterator[Difference]:
    """Each arm against those that it should beat."""
    for name, given in scored(answers):
        for other in ARMS[name].against:
            if other in answers.seeds:
                yield answers.less(name, other, given)


def scores(answers: Answers, corpus: str) -> str:
    """The table of a corpus: its students, then the teacher."""
    sets = CORPORA[corpus]
    names = [name for name in answers.seeds if ARMS[name].corpus == corpus]
    heads = [f"{kind}, {given}" for given in sets for kind in answers.kinds(given)]
    lines = [f"| labels | seeds | {' | '.join(heads)} |", "|---|---|" + "---|" * len(heads)]
    for name in [*names, TEACHER]:
        cells = []
        for given in sets:
            cells += [cell(answers.errors(name, given).mean(axis=1)), cell(answers.others(name, given))]
        lines.append(f"| {name} | {len(answers.seeds[name]) if name != TEACHER else '-'} | {' | '.join(cells)} |")
    return "\n".join(lines)


def cell(values: Floats) -> str:
    """The mean of some seeds, with its interval."""
    bounds = t_interval(values)
    return f"{values.mean():.2f}" + (f" [{bounds[0]:.2f}, {bounds[1]:.2f}]" if bounds else "")


def said(bounds: tuple[float, float] | None) -> str:
    """An interval, or a dash."""
    return f"[{bounds[0]:+.2f}, {bounds[1]:+.2f}]" if bounds else "-"


def failed(found: list[Difference]) -> str:
    """The comparisons that an arm did not win, a line each."""
    lost = [one for one in found if one.verdict in ("worse", "not told apart")]
    lines = [
        f"- **{one.arm}** less {one.against} on {one.given}: {one.value:+.2f} (seeds {said(one.seeds)}, faces "
        f"{said(one.faces)}), {one.verdict}."
        for one in lost
    ]
    if any(one.seeds is None for one in found):
        lines.append("- One seed tells no two students apart: `run` another.")
    return "\n".join(lines) or "Every comparison was won."


def costs(place: Path) -> str:
    """The table of what teacher and student cost, and their ratios; a line of excuse where it was not measured."""
    noted = place / "cost.json"
    if not noted.exists():
        return "Not measured: `python benchmarks/distillation.py run` does it after training."
    cost = json.loads(noted.read_text())
    times = {who: np.array(cost[who]) for who in ("teacher", "student")}
    ratios = times["teacher"] / times["student"]
    general = [one for name, one in cost["sizes"].items() if name != "student"]
    student = cost["sizes"]["student"]
    lines = ["| | parameters | multiply-adds a face | ms a face |", "|---|---|---|---|"]
    for who, networks, views in (
        ("student", [student], 1),
        ("teacher, a face above the switch", general, cost["views"]),
        ("teacher, a face at or below it", [*general, *cost["children"]], cost["views"]),
    ):
        known = None not in networks
        parameters = f"{sum(one[0] for one in networks) / 1e6:.1f} M" if known else "-"
        operations = f"{views * sum(one[1] for one in networks) / 1e6:,.0f} M" if known else "-"
        spent = f"{np.median(times['student']):.2f}" if who == "student" else ""
        lines.append(f"| {who} | {parameters} | {operations} | {spent} |")
    lines.append(f"| teacher, {cost['young']} of {cost['faces']} faces below | | | {np.median(times['teacher']):.0f} |")
    told = f"The teacher takes **{np.median(ratios):.3g}** times the student's time ({ratios.min():.3g} to "
    told += f"{ratios.max():.3g} over {len(ratios)} turns, one thread, bfloat16, {cost['faces']} faces a batch)"
    if None not in general:
        told += f" and {cost['views'] * sum(one[1] for one in general) / student[1]:.3g} times its multiply-adds"
    return "\n".join(
        [*lines, "", f"{told}: {cost['members'][0]} + {cost['members'][1]} members, {cost['views']} views."]
    )
