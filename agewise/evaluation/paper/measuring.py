"""What a user's models score on the paper's data sets, and on others, each by its own protocol."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from agewise.data.manifest import ManifestError
from agewise.evaluation.groups import Score
from agewise.evaluation.protocols.outcome import Outcome, Tested
from agewise.evaluation.protocols.run import PLAIN, How, run
from agewise.evaluation.protocols.settings import read_protocol
from agewise.evaluation.protocols.sources import Source, cells_of, said_of
from agewise.evaluation.published import read_published
from agewise.evaluation.robustness.cells import STEP
from agewise.evaluation.robustness.scores import ALL, Robustness, robustness
from agewise.evaluation.robustness.walk import CLEAN
from agewise.evaluation.stats import Stats, stats

OTHER = "cross-dataset"
"""The protocol of a data set that the paper has not."""

CORRUPTED = "lfw-plus-c"


@dataclass(frozen=True, slots=True)
class Entrant:
    """What stands for a model. sources: for any data set, the first one that fits; earlier predictions go first.

    own: by data set, the model trained again for it; of folds a model each, by fold.
    """

    sources: tuple[Source, ...] = ()
    own: Mapping[str, Mapping[str, Source]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Corrupted:
    """A model on clean and corrupted faces: scores by CLEAN, kind, category and ALL; metric: mae or excess.

    called: the model's name with its hash.
    """

    model: str
    called: str
    data_set: str
    metric: str
    profile: str
    scores: Mapping[str, Score]

    def value(self, part: str) -> float:
        """The metric of a part, in years."""
        return self.scores[part].metrics[self.metric].value


@dataclass(frozen=True, slots=True)
class Measured:
    """All that was measured, by model and data set.

    adapted: those whose model was trained again for that set. rules: the hash of each protocol that was run.
    """

    outcomes: Mapping[tuple[str, str], Outcome]
    adapted: frozenset[tuple[str, str]]
    corrupted: tuple[Corrupted, ...]
    stats: Mapping[str, Stats]
    manifests: Mapping[str, Path]
    tested: Mapping[str, Tested]
    models: tuple[str, ...]
    rules: Mapping[str, str]

    def of_corrupted(self, model: str, data_set: str = CORRUPTED) -> Corrupted | None:
        """A model's scores on corrupted faces of a data set; None where they were not measured."""
        return next((one for one in self.corrupted if (one.model, one.data_set) == (model, data_set)), None)


def measure(
    models: Mapping[str, Entrant],
    manifests: Mapping[str, Path],
    folder: Path,
    resamples: int = 1000,
    how: How = PLAIN,
) -> Measured:
    """Runs every model on every data set that it can be run on; what is in `folder` already is read.

    models: by a row of the paper (its name or key) or another name. manifests: by a set of the paper or another name;
    corrupted faces cost 65 times the clean ones, and are made of `lfw-plus-c` alone, the clean manifest of LFW+.
    Raises ManifestError or ValueError in one line.
    """
    named = {title_of(name): entrant for name, entrant in models.items()}
    if not manifests:
        raise ManifestError("paper-tables: no manifest is given, and so nothing to count or to test")
    tested = {name: Tested.of(path) for name, path in manifests.items()}
    outcomes: dict[tuple[str, str], Outcome] = {}
    adapted: set[tuple[str, str]] = set()
    corrupted: list[Corrupted] = []
    rules: dict[str, str] = {}
    for name, path in manifests.items():
        said = read_published().data_set(name)
        protocol = read_protocol(said.protocol if said else OTHER)
        for model, entrant in named.items():
            step = STEP if name == CORRUPTED else "predict"
            given = _given(entrant, model, name, tested[name].sha256, step)
            if not given:
                continue
            rules[protocol.name] = protocol.sha256
            outcome = run(protocol, given, {name: path}, folder, resamples, how)
            if name == CORRUPTED:
                scores = {one.part: one.score for one in outcome.results}
                corrupted.append(
                    Corrupted(model, next(iter(outcome.models.values())), name, "mae", protocol.profile, scores)
                )
                continue
            outcomes[model, name] = outcome
            if name in entrant.own:
                adapted.add((model, name))
    corrupted += _earlier(named, tested, resamples)
    counted = {name: stats(path) for name, path in manifests.items() if name != CORRUPTED}
    _check_names(outcomes, adapted, corrupted)
    return Measured(
        outcomes, frozenset(adapted), tuple(corrupted), counted, dict(manifests), tested, tuple(named), rules
    )


def title_of(model: str) -> str:
    """The row of the paper that a name or key means, else the name itself."""
    row = read_published().row(model)
    return row.name if row else model


def _given(entrant: Entrant, model: str, name: str, content: str, step: str) -> dict[str, Source]:
    """The sources that are tested on a data set; none where nothing fits."""
    if name in entrant.own:
        return dict(entrant.own[name])
    earlier = [one for one in entrant.sources if isinstance(one, Path) and said_of(one).get(step) == content]
    live = [one for one in entrant.sources if not isinstance(one, Path)]
    fitting = [*earlier, *live]
    return {model: fitting[0]} if fitting else {}


def _earlier(models: Mapping[str, Entrant], tested: Mapping[str, Tested], resamples: int) -> Iterator[Corrupted]:
    """Cells that `agewise robustness` made of data sets that the paper has not corrupted."""
    sets = {one.sha256: name for name, one in tested.items() if name != CORRUPTED}
    for model, entrant in models.items():
        for source in _paths(entrant.sources):
            name = sets.get(said_of(source).get(STEP, ""))
            cells = cells_of(source)
            if name and cells:
                found = robustness(cells, resamples=resamples)
                if ALL not in found.means:
                    raise ManifestError(f"{cells}: Table 6 needs all of the 13 kinds x 5 severities")
                yield Corrupted(model, found.model, name, *_scores(found))


def _check_names(
    outcomes: Mapping[tuple[str, str], Outcome], adapted: set[tuple[str, str]], corrupted: Sequence[Corrupted]
) -> None:
    """Raises ManifestError where two models came under one name."""
    seen: dict[str, str] = {}
    pairs = [(model, one.models[model]) for (model, name), one in outcomes.items() if (model, name) not in adapted]
    for model, called in [
        *pairs,
        *((one.model, one.called) for one in corrupted if (one.model, one.data_set) not in adapted),
    ]:
        if seen.setdefault(model, called) != called:
            raise ManifestError(f"{model} is {seen[model]} and {called}: give two models two names")


def _scores(found: Robustness) -> tuple[str, str, dict[str, Score]]:
    metric = "mae" if found.labels == "age" else "excess"
    return metric, found.profile, {CLEAN: found.clean, **found.kinds, **found.means}


def _paths(sources: Sequence[Source]) -> Iterator[Path]:
    for one in sources:
        if isinstance(one, Path):
            yield one
