"""Each rule measures what it says, hits beyond its threshold and not at it, and is silent where nothing is known."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from agewise.data.clean_rules import (
    Birthday,
    Dates,
    Faces,
    Range,
    Rule,
    Score,
    Sharpness,
    Size,
    Unborn,
    Unreadable,
    Width,
    births,
)

NONE = float("nan")


def hits(rule: Rule, **columns: Any) -> list[bool]:
    """Which rows a rule hits, as `clean` decides it."""
    values = rule.measure(pa.table(columns))
    return [bool(one > 0) for one in np.where(np.isnan(values), -1.0, rule.gravity(values))]


def test_the_number_of_faces() -> None:
    faces = pa.array([1.0, 2.0, None, 0.0], pa.float64())
    assert hits(Faces(), faces=faces) == [False, True, False, True]
    assert hits(Faces(most=2, least=0), faces=faces) == [False, False, False, False]
    assert (Faces().limit(), Faces().why({}, 3.0)) == ("not 1..1 faces in the photo", "3 faces")


def test_the_detectors_score() -> None:
    assert hits(Score(least=0.7), score=pa.array([0.69, 0.7, None])) == [True, False, False]
    assert Score().why({}, 0.555) == "score 0.56"


def test_the_shorter_side_of_the_box() -> None:
    box = pa.array([[10.0, 10.0, 41.0, 90.0], [0.0, 0.0, 90.0, 32.0], None], pa.list_(pa.float64(), 4))
    values = Size().measure(pa.table({"box": box}))
    np.testing.assert_array_equal(values, [31.0, 32.0, NONE])
    assert hits(Size(), box=box) == [True, False, False]
    assert hits(Size(least=33), box=box) == [True, True, False]


def test_sharpness_and_pictures_that_cannot_be_read() -> None:
    sharpness = pa.array([0.05, 0.3, NONE])
    assert hits(Sharpness(), sharpness=sharpness) == [True, False, False]
    assert hits(Unreadable(), sharpness=sharpness) == [False, False, True]


def test_ages_out_of_range_and_labels_that_cannot_be() -> None:
    age = pa.array([0.0, 1.0, 100.0, 101.0, None, NONE, 300.0], pa.float64())
    np.testing.assert_array_equal(Range().measure(pa.table({"age": age})), [1, 0, 0, 1, NONE, 122, 122])
    assert hits(Range(), age=age) == [True, False, False, True, False, True, True]
    assert Range().why({}, 122.0) == "a label that cannot be"
    assert Range(youngest=10, oldest=20).limit() == "outside 10..20 years"


def test_a_group_is_out_of_range_where_all_of_it_is() -> None:
    low, high = pa.array([0.0, 0.0, 70.0, 90.0]), pa.array([2.0, 0.0, 100.0, 20.0])
    assert hits(Range(), age_low=low, age_high=high) == [False, True, False, True]  # the last has its bounds reversed


def test_wide_groups() -> None:
    columns = {
        "age": pa.array([None, None, 30.0], pa.float64()),
        "age_low": [0.0, 20.0, 0.0],
        "age_high": [41.0, 60.0, 90.0],
    }
    assert hits(Width(), **columns) == [True, False, False]


BORN = ["1967-0-0", "1967-05-00", "1967-05-12", "1967", None, "unknown"]


def test_dates_of_birth_without_month_or_day() -> None:
    assert hits(Birthday(), birth=BORN) == [True, True, False, True, False, True]
    year, _, known = births(pa.table({"birth": BORN}))
    np.testing.assert_array_equal(year, [1967, 1967, 1967, 1967, NONE, NONE])
    assert known.tolist() == [True, True, True, True, False, True]


def test_dates_of_birth_may_be_dates() -> None:
    born = pa.array([datetime.date(1980, 2, 3), None])
    assert hits(Birthday(), birth=born) == [False, False]
    assert births(pa.table({"birth": born}))[0][0] == 1980


def test_photos_before_the_birth_and_ages_that_contradict_the_dates() -> None:
    columns: dict[str, Any] = {
        "birth": ["1967-05-12", "1967-05-12", "1967-0-0", None],
        "photo_year": [1966, 1999, 2000, 2000],
        "age": [0.0, 31.0, 30.0, 20.0],
    }
    assert hits(Unborn(), **columns) == [True, False, False, False]
    assert hits(Dates(), **columns) == [False, False, True, False]
    row = {name: values[2] for name, values in columns.items()}
    assert Dates().why(row, 3.0) == "born 1967-0-0, photo of 2000: 3 years apart"


def test_what_a_rule_needs_and_does_not_find() -> None:
    assert Dates().missing(["image", "birth", "age"]) == "no column photo_year"
    assert Range().missing(["image"]) == "no column age, or age_low and age_high"
    assert Range().missing(["age_low", "age_high"]) is None


def test_thresholds_are_checked() -> None:
    with pytest.raises(ValidationError):
        Score(least=1.5)
    with pytest.raises(ValidationError):
        Faces(many=3)  # type: ignore[call-arg]
