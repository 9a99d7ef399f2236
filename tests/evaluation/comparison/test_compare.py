"""Models are compared on the same faces, by pairs: as evaluate scores them, as a paired bootstrap by hand has it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from scipy.stats import friedmanchisquare, ttest_rel

from agewise.ages import AgeDistribution
from agewise.data.manifest import ManifestError, probs_column, read_manifest, write_manifest
from agewise.evaluation.comparison.compare import compare
from agewise.evaluation.comparison.report import facts, figures, tables, to_json, write_compare
from agewise.evaluation.comparison.significance import apart, chance
from agewise.evaluation.evaluate import evaluate

Write = Callable[..., Path]
COUNT = 400
TRUE = np.random.default_rng(1).uniform(1, 90, COUNT).round(1)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """A file of predictions; keywords are columns of its manifest."""

    def predictions(
        name: str,
        guess: Any,
        missing: Sequence[int] = (),
        manifest: str = "wild.parquet",
        content: str = "ab",
        **columns: Any,
    ) -> Path:
        ages = AgeDistribution.gaussian(np.clip(guess, 0, 100), 4.0)
        failed = np.isin(np.arange(len(ages)), missing)
        probs = pc.if_else(
            pa.array(failed), None, pa.array(ages.probs.astype(np.float32).tolist(), probs_column(ages).type)
        )
        low, high = ages.interval().T
        years = {"mean": ages.mean, "std": ages.std, "low": low, "high": high}
        made = {
            "row": np.arange(len(ages)),
            "age_probs": probs,
            **{key: pa.array(values, mask=failed) for key, values in years.items()},
            "error": pa.array(["unreadable" if one else None for one in failed], pa.string()),
        }
        said = {"step": "predict", "name": name, "manifest": manifest, "content": content * 32}
        folder = tmp_path / f"{name}-{content}".replace(" ", "-")
        return write_manifest(pa.table({**columns, **made}), folder / "predictions.parquet", said)

    return predictions


def noisy(spread: float, seed: int, bias: float = 0.0, true: Any = TRUE) -> Any:
    return np.clip(true + bias + np.random.default_rng(seed).normal(0, spread, len(true)), 0, 100)


@pytest.fixture
def three(write: Write) -> list[Path]:
    sex = [["F", "M", None][row % 3] for row in range(COUNT)]
    columns = {"age": TRUE, "sex": sex}
    guesses = {"near 1": noisy(2, 2), "mid 2": noisy(4, 3), "far 3": noisy(9, 4)}
    return [write(name, guess, **columns) for name, guess in guesses.items()]


def test_scores_are_those_of_evaluate(three: list[Path]) -> None:
    found = compare(three, decision="median", resamples=50)
    (trial,) = found.trials
    for path, name in zip(three, found.models, strict=True):
        alone = evaluate(path, decision="median", resamples=50)
        assert trial.overall.scores[name] == alone.overall
        for column, scores in {"age": alone.bands, "sex": alone.groups["sex"]}.items():
            ours = [part.scores[name] for part in trial.parts[column]]
            assert [one.name for one in ours] == [one.name for one in scores]
            assert [one.metrics["mae"] for one in ours] == [one.metrics["mae"] for one in scores]
        assert trial.gaps["sex"][name] == alone.gaps["sex"]
    assert trial.absent == ("ethnicity",)
    assert trial.resampled == "faces"


def test_a_difference_is_paired(write: Write) -> None:
    """Errors in common leave the interval: it is as narrow as the paired t-test's, not as wide as that of two means."""
    hard = np.random.default_rng(0).normal(0, 8, COUNT)
    guesses = [np.clip(TRUE + hard + shift, 0, 100) for shift in (0.0, 0.3)]
    paths = [write(name, guess, age=TRUE) for name, guess in zip("ab", guesses, strict=True)]
    (trial,) = compare(paths).trials
    errors = [np.abs(read_manifest(path)["mean"].to_numpy() - TRUE) for path in paths]
    years = trial.overall.differences["b"].years
    assert years.value == pytest.approx((errors[1] - errors[0]).mean())
    wanted = ttest_rel(errors[1], errors[0]).confidence_interval(0.95)
    assert years.interval == pytest.approx(tuple(wanted), abs=0.01)
    low, high = trial.overall.scores["a"].metrics["mae"].interval
    assert years.interval[1] - years.interval[0] < (high - low) / 5


def test_subjects_are_drawn_with_all_their_faces(write: Write) -> None:
    true, subjects = np.full(200, 40.0), [f"s{row // 5}" for row in range(200)]
    off = np.repeat(np.random.default_rng(5).normal(3, 2, 40), 5)  # all faces of a subject are judged alike

    def width(**columns: Any) -> float:
        content = f"{len(columns)}0"
        paths = [
            write(name, guess, age=true, content=content, **columns) for name, guess in (("a", true), ("b", true + off))
        ]
        (trial,) = compare(paths).trials
        low, high = trial.overall.differences["b"].years.interval
        assert trial.resampled == ("subjects" if columns else "faces")
        return high - low

    assert width(subject=subjects) / width() == pytest.approx(5**0.5, rel=0.15)


def test_verdicts(write: Write) -> None:
    paths = [
        write(name, guess, age=TRUE) for name, guess in (("a", noisy(5, 1)), ("b", noisy(2, 2)), ("c", noisy(5, 3)))
    ]
    verdicts = {name: one.verdict for name, one in compare(paths).trials[0].overall.differences.items()}
    assert verdicts == {"b": "better", "c": "undecided"}
    verdicts = {name: one.verdict for name, one in compare(paths, against="b").trials[0].overall.differences.items()}
    assert verdicts == {"a": "worse", "c": "worse"}


def test_a_model_is_not_told_from_itself(write: Write) -> None:
    paths = [write(name, noisy(5, 1), age=TRUE) for name in "ab"]
    one = compare(paths).trials[0].overall.differences["b"]
    assert (one.years.value, one.years.interval, one.verdict) == (0.0, (0.0, 0.0), "undecided")


def test_verdicts_of_equal_models_are_mostly_undecided(write: Write) -> None:
    """Of 40 pairs of models that are alike, about 2 intervals of 95 % are beside 0."""
    count = 0
    for seed in range(40):
        true = TRUE[:120]
        paths = [write(name, noisy(6, 100 + 2 * seed + shift, 0, true), age=true) for shift, name in enumerate("ab")]
        count += compare(paths, resamples=200).trials[0].overall.differences["b"].verdict != "undecided"
    assert count <= 7


@pytest.mark.parametrize(("count", "verdict"), [(29, "too few"), (30, "worse")])
def test_few_subjects_have_no_verdict(write: Write, count: int, verdict: str) -> None:
    true, subjects = np.repeat(np.full(count, 40.0), 3), [f"s{row // 3}" for row in range(3 * count)]
    paths = [write(name, true + off, age=true, subject=subjects) for name, off in (("a", 0), ("b", 3))]
    assert compare(paths).trials[0].overall.differences["b"].verdict == verdict


def test_faces_that_one_model_has_not_are_left_out_for_all(write: Write) -> None:
    true = np.where(np.arange(COUNT) == 9, np.nan, TRUE)
    age = pa.array(true, from_pandas=True)
    guess = noisy(3, 1)
    spoilt = np.where(np.isin(np.arange(COUNT), [0, 1, 2]), 100.0, guess)
    paths = [write("a", spoilt, [5], age=age), write("b", guess, [0, 1, 2, 5], age=age)]
    (trial,) = compare(paths).trials
    assert trial.overall.n == COUNT - 5
    assert trial.dropped == {"no prediction by b": 3, "no prediction by a, b": 1, "no age known": 1}
    assert trial.overall.differences["b"].years.value == 0.0
    said = "\n".join(facts(compare(paths, resamples=10)))
    assert "395 faces scored, 5 dropped for all: no prediction by b (3); " in said


def test_known_groups_are_compared_by_excess(write: Write) -> None:
    low = np.random.default_rng(0).choice([0.0, 10.0, 20.0, 70.0], COUNT)
    high = np.where(low == 70, 100, low + 9)
    paths = [write(name, low + off, age_low=low, age_high=high) for name, off in (("a", 5), ("b", 13))]
    (trial,) = compare(paths, resamples=100).trials
    assert trial.labels == "group"
    assert [part.name for part in trial.parts["age"]] == ["0-9", "10-19", "20-29", "70+"]
    wanted = 3 * (low < 70).mean()  # 13 years above the low bound is 3 years beyond a group of ten
    assert trial.overall.differences["b"].years.value == pytest.approx(wanted, abs=0.05)
    assert trial.overall.differences["b"].verdict == "worse"


def test_ranks_over_blocks(three: list[Path]) -> None:
    found = compare(three, resamples=10)
    assert found.rankings.keys() == {"age", "sex"}  # one manifest is no two blocks
    assert found.rankings["sex"].blocks == 2  # the unknown are none
    parts = [part for part in found.trials[0].parts["age"] if part.n >= 30]
    errors = np.array([[part.scores[name].metrics["mae"].value for name in found.models] for part in parts])
    ranking = found.rankings["age"]
    assert ranking.blocks == len(parts) >= 6
    assert ranking.ranks.tolist() == [1, 2, 3]  # 2, 4 and 9 years of noise
    assert friedmanchisquare(*errors.T).statistic == pytest.approx(2 * len(parts))
    assert apart(ranking) == [("near 1", "far 3")]
    assert chance(ranking) == pytest.approx(6.0 ** (1 - len(parts)))
    assert chance(found.rankings["sex"]) == pytest.approx(1 / 6)  # F would have it at 0


def test_manifests_are_blocks_and_models_keep_their_order(write: Write) -> None:
    paths = []
    for content, names in (("ab", "abc"), ("cd", "cba"), ("ef", "bca")):
        for name in names:
            guess = noisy(3, ord(name), 4 * (ord(name) - ord("a")))
            paths.append(write(name, guess, age=TRUE, content=content, sex=["F", "M"] * 200))
    found = compare(paths, resamples=10)
    assert found.models == ("a", "b", "c")
    assert [trial.manifest for trial in found.trials] == [f"wild.parquet {two * 4}" for two in ("ab", "cd", "ef")]
    assert [list(trial.overall.scores) for trial in found.trials] == [["a", "b", "c"]] * 3  # the order of the columns
    assert found.rankings["manifest"].blocks == 3
    assert found.rankings["sex"].blocks == 6
    assert found.rankings["manifest"].ranks.tolist() == [1, 2, 3]
    assert len(figures(found)) == 3 + 3


def test_two_models_are_not_ranked(three: list[Path]) -> None:
    found = compare(three[:2], resamples=10)
    assert found.rankings == {}
    assert list(figures(found)) == ["Differences from near 1 on wild.parquet"]


def test_the_report_says_the_same_thrice(three: list[Path], tmp_path: Path) -> None:
    found = compare([path.parent for path in three], resamples=50)
    paths = write_compare(found, tmp_path / "out")
    assert [path.name for path in paths] == ["compare.json", "compare.md", "compare.html"]
    said, text, page = (path.read_text(encoding="utf-8") for path in paths)
    one = json.loads(said)["manifests"][0]["overall"]["differences"]["far 3"]
    cell = f"{one['years']['value']:.2f} [{one['years']['interval'][0]:.2f}, {one['years']['interval'][1]:.2f}] worse"
    assert cell in text
    assert cell in page
    assert "nan" not in text.lower()
    assert "None" not in text
    for block in (block.splitlines() for block in text.split("\n\n") if block.startswith("|")):
        assert len({line.count("|") for line in block}) == 1, block
    assert not re.search(r"(?:src|href)=\"(?!data:image/png;base64,)", page)
    assert page.count("data:image/png") == 3
    assert "the mean of each distribution; differences are those from near 1" in text


def test_json_is_strict(three: list[Path]) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    said = json.loads(to_json(compare(three, ["sex"], resamples=10)), parse_constant=refuse)
    assert said["rankings"]["age"]["statistic"] is None  # infinite: all blocks order the models alike
    assert said["rankings"]["age"]["names"] == said["models"] == ["near 1", "mid 2", "far 3"]
    assert said["manifests"][0]["gaps"]["sex"].keys() == set(said["models"])
    assert said["manifests"][0]["absent"] == []


def test_every_table_is_whole(three: list[Path]) -> None:
    for title, head, rows in tables(compare(three, resamples=10)):
        assert rows, title
        assert {len(row) for row in rows} == {len(head)}, title


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda paths: paths[:1], {}, "near 1 cannot be compared alone; give files of at least 2 models"),
        (lambda _: [], {}, "no model cannot be compared alone"),
        (lambda paths: [*paths, paths[0]], {}, "predictions of near 1 on wild.parquet, as .* is"),
        (lambda paths: [*paths, paths[0].parent.parent], {}, "predictions.parquet: no predictions there"),
        (None, {"against": "best"}, "--against 'best' is the name of 0 models; there are near 1, mid 2, far 3"),
        (None, {"against": ""}, "--against '' is the name of 3 models"),
        (None, {"groups": ["sex", "sext"]}, "no manifest has a group column sext; there are sex"),
        (None, {"groups": ["mean"]}, "no manifest has a group column mean"),
        (None, {"decision": "average"}, "no decision rule 'average'; there are mean, median, mode"),
    ],
)
def test_what_cannot_be_compared(three: list[Path], change: Any, options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        compare(change(three) if change else three, **options)
    assert "\n" not in str(raised.value)


def test_other_manifests_are_refused(three: list[Path], write: Write) -> None:
    other = write("new", noisy(2, 1), age=TRUE, content="cd")
    with pytest.raises(ManifestError, match=r"predictions by near 1, mid 2, far 3, but new has none of that manifest"):
        compare([*three, other])


def test_files_that_are_no_predictions(three: list[Path], write: Write, tmp_path: Path) -> None:
    plain = write_manifest(pa.table({"age": [1.0]}), tmp_path / "plain.parquet", {"step": "prepare"})
    with pytest.raises(ManifestError, match=r"plain\.parquet: not a file of predictions; agewise evaluate writes one"):
        compare([*three, plain])
    (tmp_path / "text.parquet").write_text("no")
    with pytest.raises(ManifestError, match=r"text\.parquet: not a Parquet file"):
        compare([*three, tmp_path / "text.parquet"])
    short = write("short", TRUE[:9], age=TRUE[:9])
    with pytest.raises(ManifestError, match="its rows are not those of"):
        compare([*three, short])


def test_no_labels_and_no_faces(write: Write) -> None:
    blank = pa.array([None] * 9, pa.float64())
    with pytest.raises(ManifestError, match="no row has a known age"):
        compare([write(name, TRUE[:9], age=blank) for name in "ab"])
    with pytest.raises(ManifestError, match="none of the 9 faces can be scored: no prediction by b"):
        compare([write("a", TRUE[:9], age=TRUE[:9]), write("b", TRUE[:9], range(9), age=TRUE[:9])])
