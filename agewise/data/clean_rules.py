"""Rules by which rows of a noisy corpus are dropped, from what a manifest says of each: a picture, a face, dates."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import Field, model_validator

from agewise.ages import OLDEST
from agewise.data.audit.label_checks import SMALLEST
from agewise.data.manifest import faults, numbers
from agewise.data.settings import Settings

Values = NDArray[np.float64]

_BIRTH = r"^\s*(?P<year>\d{4})(?:-(?P<month>\d{1,2})-(?P<day>\d{1,2}))?"


class Rule(Settings):
    """One reason to drop a row; its fields are its thresholds.

    needs: sets of columns, one of which it must find. meaning: what a hit says of the row. limits: the thresholds in
    words, and reads: one hit in words, as formats of the rule's fields, and of `value` and the row's columns.
    """

    needs: ClassVar[tuple[tuple[str, ...], ...]]
    meaning: ClassVar[str]
    limits: ClassVar[str]
    reads: ClassVar[str]

    def missing(self, names: Sequence[str]) -> str | None:
        """Why the rule cannot be applied to a manifest of these columns; None where it can."""
        if any(set(some) <= set(names) for some in self.needs):
            return None
        return "no column " + ", or ".join(" and ".join(n for n in some if n not in names) for some in self.needs)

    @abstractmethod
    def measure(self, rows: pa.Table) -> Values:
        """What is measured of each row (N,), NaN where that is not known."""

    def gravity(self, values: Values) -> Values:
        """How far each value (N,) is beyond the threshold: above 0 is a hit, the larger the worse."""
        return values

    def limit(self) -> str:
        """The thresholds in words."""
        return self.limits.format(**self.model_dump())

    def why(self, row: Mapping[str, Any], value: float) -> str:
        """What is said of one row that was hit."""
        return self.reads.format(**row, value=value)


class AtLeast(Rule):
    """Rules of what must reach a threshold."""

    least: float

    def gravity(self, values: Values) -> Values:
        """What each value (N,) lacks."""
        return self.least - values


class Unreadable(Rule):
    """Pictures that cannot be opened; needs column `sharpness`, which `clean` measures."""

    needs = (("image",),)
    meaning = "The picture is damaged, missing or no square crop."
    limits = reads = "cannot be read"

    def measure(self, rows: pa.Table) -> Values:
        """1 where the picture could not be read, else 0."""
        return np.isnan(numbers(rows, "sharpness")).astype(np.float64)


class Faces(Rule):
    """Photos with more faces, or fewer, than one: whose age is it?"""

    needs = (("faces",),)
    meaning = "The photo shows several people, and the age may be that of another one."
    limits = "not {least}..{most} faces in the photo"
    reads = "{value:g} faces"
    least: int = Field(default=1, ge=0)
    most: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _some_are_allowed(self) -> Faces:
        if self.least > self.most:
            raise ValueError(f"least is {self.least} and most {self.most}: no photo has so many faces")
        return self

    def measure(self, rows: pa.Table) -> Values:
        """Faces that the detector found in the photo."""
        return numbers(rows, "faces")

    def gravity(self, values: Values) -> Values:
        """Faces too many or too few."""
        return np.maximum(values - self.most, self.least - values)


class Score(AtLeast):
    """Faces that the detector is not sure of."""

    needs = (("score",),)
    meaning = "The detector is not sure that this is a face."
    limits = "below {least:g}"
    reads = "score {value:.2f}"
    least: float = Field(default=0.6, ge=0, le=1)

    def measure(self, rows: pa.Table) -> Values:
        """The detector's score, 0..1."""
        return numbers(rows, "score")


class Size(AtLeast):
    """Faces of few pixels."""

    needs = (("box",),)
    meaning = "The face has so few pixels in its photo that an age cannot be seen."
    limits = "below {least:g} pixels"
    reads = "{value:.0f} pixels"
    least: float = Field(default=float(SMALLEST), ge=0)

    def measure(self, rows: pa.Table) -> Values:
        """Pixels of the shorter side of the face's box in its photo."""
        boxes = [box if box is not None else [np.nan] * 4 for box in rows["box"].to_pylist()]
        corners = np.array(boxes, dtype=np.float64).reshape(-1, 4)
        return np.asarray((corners[:, 2:] - corners[:, :2]).min(axis=1), dtype=np.float64)


class Sharpness(AtLeast):
    """Blurred faces; needs column `sharpness`, which `clean` measures."""

    needs = (("image",),)
    meaning = "The face is blurred, and wrinkles cannot be seen."
    limits = "below {least:g}"
    reads = "sharpness {value:.2f}"
    least: float = Field(default=0.1, ge=0)

    def measure(self, rows: pa.Table) -> Values:
        """`agewise.faces.quality.sharpness` of the crop."""
        return numbers(rows, "sharpness")


class Range(Rule):
    """Ages that the corpus should not hold, and labels that cannot be; a group only where it lies wholly outside."""

    needs = (("age",), ("age_low", "age_high"))
    meaning = "The label is outside the ages that are credible here, mostly by a wrong year."
    limits = "outside {youngest:g}..{oldest:g} years"
    reads = "{value:g} years outside"
    youngest: float = Field(default=1.0, ge=0, le=OLDEST)
    oldest: float = Field(default=100.0, ge=0, le=OLDEST)

    @model_validator(mode="after")
    def _some_are_allowed(self) -> Range:
        if self.youngest > self.oldest:
            raise ValueError(f"youngest is {self.youngest:g} and oldest {self.oldest:g}: nobody is of that age")
        return self

    def measure(self, rows: pa.Table) -> Values:
        """Years outside the range, below 0 inside; OLDEST for a label that cannot be."""
        low, high = bounds(rows)
        values = np.maximum(self.youngest - high, low - self.oldest)
        values[impossible(rows)] = OLDEST
        return values

    def why(self, row: Mapping[str, Any], value: float) -> str:
        """How far outside."""
        return super().why(row, value) if value < OLDEST else "a label that cannot be"


class Width(Rule):
    """Groups that say nearly nothing."""

    needs = (("age_low", "age_high"),)
    meaning = "The age group is so wide that it says hardly anything."
    limits = "wider than {most:g} years"
    reads = "{value:g} years wide"
    most: float = Field(default=40.0, ge=0)

    def measure(self, rows: pa.Table) -> Values:
        """Years from the lower bound to the upper, 0 for an exact age; NaN for a label that cannot be."""
        low, high = bounds(rows)
        return np.where(impossible(rows), np.nan, high - low)

    def gravity(self, values: Values) -> Values:
        """Years too many."""
        return values - self.most


class Birthday(Rule):
    """Dates of birth without a month or a day (0-0 in IMDB-WIKI), in column `birth`, `YYYY-MM-DD`."""

    needs = (("birth",),)
    meaning = "The date of birth has no month or day: it was filled in, or guessed."
    limits = "no month or day"
    reads = "born {birth}"

    def measure(self, rows: pa.Table) -> Values:
        """1 where month or day are missing or 0, else 0."""
        _, whole, known = births(rows)
        return np.where(known, ~whole, np.nan).astype(np.float64)


class Unborn(AtLeast):
    """Photos taken before the birth: columns `photo_year` and `birth`."""

    needs = (("birth", "photo_year"),)
    meaning = "The photo is older than the person: one of the dates is wrong."
    limits = "less than {least:g} years after the birth"
    reads = "born {birth}, photo of {photo_year:g}"
    least: float = Field(default=0.0, ge=0)

    def measure(self, rows: pa.Table) -> Values:
        """Calendar years from birth to photo."""
        return numbers(rows, "photo_year") - births(rows)[0]


class Dates(Rule):
    """Ages that contradict the dates: columns `age`, `photo_year` and `birth`."""

    needs = (("birth", "photo_year", "age"),)
    meaning = "The age is not what the dates of birth and photo say."
    limits = "more than {apart:g} years apart"
    reads = "born {birth}, photo of {photo_year:g}: {value:g} years apart"
    apart: float = Field(default=1.0, ge=0)

    def measure(self, rows: pa.Table) -> Values:
        """Years between the age and that of the dates; one year is the birthday's."""
        return np.abs(numbers(rows, "age") - (numbers(rows, "photo_year") - births(rows)[0]))

    def gravity(self, values: Values) -> Values:
        """Years too far apart."""
        return values - self.apart


def bounds(rows: pa.Table) -> tuple[Values, Values]:
    """The youngest and the oldest age (N,) that each label allows: twice the age where it is known; NaN without one."""
    age, low, high = (numbers(rows, name) for name in ("age", "age_low", "age_high"))
    return np.where(np.isnan(age), low, age), np.where(np.isnan(age), high, age)


def births(rows: pa.Table) -> tuple[Values, NDArray[np.bool_], NDArray[np.bool_]]:
    """Of column `birth`: years (N,), NaN where none can be read; are month and day known; is anything there."""
    texts = rows["birth"].cast(pa.string()).combine_chunks()
    found = pc.extract_regex(texts, _BIRTH).to_pylist()
    year, month, day = (
        np.array([float((one and one[name]) or 0) for one in found], dtype=np.float64)
        for name in ("year", "month", "day")
    )
    return np.where(year > 0, year, np.nan), (month > 0) & (day > 0), texts.is_valid().to_numpy(zero_copy_only=False)


def impossible(rows: pa.Table) -> NDArray[np.bool_]:
    """The rows (N,) whose labels cannot be."""
    wrong = np.zeros(len(rows), dtype=bool)
    wrong[[row for row, _ in faults(rows)]] = True
    return wrong
