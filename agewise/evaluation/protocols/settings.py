"""Protocols as settings: which faces are tested, by which models, what is scored, and what others published."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from agewise.data.settings import Settings, SettingsError, read_settings
from agewise.evaluation import published as paper
from agewise.evaluation.corruptions.profiles import Profile
from agewise.evaluation.robustness.scores import ALL

FOLDER = Path(__file__).parent
"""Of the protocols that have a name."""

WORST = {"epsilon_error": 1.0, "top1": 0.0, "one_off": 0.0}
METRICS = ("mae", "bias", "excess", *WORST)
"""What can be scored; a face without a prediction may score the worst, where a metric has one."""

TALK = ("says", "notes", "published", "paper")
"""The settings that change no number."""


class Published(Settings):
    """What others report, in the units of the protocol's metrics; a metric that is not named is not known."""

    method: str
    source: str
    scores: dict[str, float]


class Protocol(Settings):
    """A test that others have done before.

    holdout: candidates are compared on part `select`, the best one is tested once on part `test`.
    folds: each part of `column` is tested by the model that was not trained on it; mean and std over the parts.
    whole: every model on all faces. matrix: every model on every manifest. corruptions: whole, 13 kinds x 5 severities.
    tables: those of `agewise.evaluation.paper`, which run the other protocols on what data there is.
    paper: the data set of Greco et al. (2021) whose numbers, as far as known, are among the published ones.
    """

    name: str = Field(pattern=r"^[a-z0-9-]+$")
    says: str
    kind: Literal["holdout", "folds", "whole", "matrix", "corruptions", "tables"]
    metrics: list[str] = Field(min_length=1, description="the first one chooses")
    missing: Literal["wrong", "dropped"] = Field(default="dropped", description="a face without a prediction")
    select: str = "valid"
    test: str = "test"
    column: str = "split"
    folds: list[str] = Field(default=[], description="names of the parts of `column`; none: those that it has")
    profile: Profile = "paper"
    notes: list[str] = Field(default=[])
    paper: str = ""
    published: list[Published] = Field(default=[])

    @model_validator(mode="after")
    def _known(self) -> Protocol:
        wrong = [name for name in self.metrics if name not in METRICS]
        if wrong:
            raise ValueError(f"no metric {wrong[0]!r}; there are {', '.join(METRICS)}")
        sets = [one.name for one in paper.read_published().sets]
        if self.paper and self.paper not in sets:
            raise ValueError(f"the paper has no set {self.paper!r}; there are {', '.join(sets)}")
        return self

    @property
    def sha256(self) -> str:
        """The hash of all settings that can change a number: two results with one hash were measured alike."""
        settings = self.model_dump(mode="json", exclude=set(TALK))
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()

    @property
    def known(self) -> list[Published]:
        """What others published: the protocol's own list and the paper's numbers."""
        return [*self.published, *_of_paper(self)]


def names() -> list[str]:
    """The protocols that need no path."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def read_protocol(word: Path | str, overrides: Sequence[str] = ()) -> Protocol:
    """The protocol by its name or by the path of a TOML file, after `name=value` overrides.

    Raises SettingsError where there is none, or the file is none.
    """
    packaged = FOLDER / f"{word}.toml"
    if str(word) in names():
        return read_settings(packaged, Protocol, overrides)
    if not Path(word).suffix and not Path(word).is_file():
        raise SettingsError(f"no protocol {str(word)!r}; there are {', '.join(names())}, or give a TOML file")
    return read_settings(word, Protocol, overrides)


def _of_paper(protocol: Protocol) -> list[Published]:
    """The paper's rows that have a number of one of the protocol's metrics; of corruptions, the mean over all 13."""
    said = paper.read_published()
    found = []
    for row in said.rows if protocol.paper else ():
        part = {metric: ALL if protocol.kind == "corruptions" else metric for metric in protocol.metrics}
        if protocol.kind == "corruptions":
            part = {protocol.metrics[0]: ALL}
        cells = {metric: row.cell(protocol.paper, key) for metric, key in part.items()}
        scores = {metric: cell.value for metric, cell in cells.items() if cell.value is not None}
        if scores:
            text = any(cell.printed is not None for cell in cells.values())
            about = ", rounded by it" if any(cell.about for cell in cells.values()) else ""
            source = f"Greco et al. 2021, {'its text' if text else 'its released charts'}{about}"
            name = f"{row.name}, {ALL}" if protocol.kind == "corruptions" else row.name
            found.append(Published(method=name, source=source, scores=scores))
    return found
