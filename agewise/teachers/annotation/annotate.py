"""Manifest + teacher -> the same manifest with an age distribution a face (VMAGE-style annotation), on one machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from agewise.ages import Predictor
from agewise.data.manifest import ManifestError, metadata, open_manifest
from agewise.data.places import place_of
from agewise.data.replacing import check_place
from agewise.data.shards import PART_ROWS, Shards
from agewise.teachers.annotation.annotated import PASSED, Annotated, Folder
from agewise.teachers.annotation.answers import answered_parts
from agewise.teachers.annotation.plan import make_plan, runs_of

Progress = Callable[[int, int], None]


def annotate(
    manifest: Path | str,
    teacher: Predictor,
    target: Path,
    *,
    identity: str,
    batch: int = 50,
    votes: str | None = None,
    progress: Progress = lambda _done, _total: None,
) -> tuple[int, list[tuple[str, str]]]:
    """Writes `manifest` with the teacher's `age_probs`, and `agreement` where the teacher is an Ensemble.

    identity: what the teacher is (a fingerprint), so that a resumed run is not finished by another one.
    votes: the form in which an Ensemble's votes are kept too, in column `votes` (`agewise.teachers.votes`).

    Returns the number of faces annotated and the rows left out, each with its reason. A finished target of the same
    manifest and teacher is not made again; one of another is refused.
    """
    check_place(target)
    moved = place_of(manifest).parent.everywhere != str(target.absolute().parent)
    plan = make_plan(manifest, identity, batch=batch, votes=votes, rows=PART_ROWS, carried=moved, ages=False)
    if target.exists():
        return _finished(target, {"step": "annotate", **plan.said})
    shards = Shards(target, plan.said)
    missing = [part for part in range(plan.parts) if not shards.done(part)]
    step = _Steps(plan.total, sum(len(plan.span(part)) for part in missing), progress)
    for part in answered_parts(plan, teacher, runs_of(missing), step):
        shards.write(part.index, part.rows, [[f"row {row}", reason] for row, _, reason in part.left_out])
    left_out = [(row, reason) for row, reason in shards.notes()]
    before = {name: value for name, value in metadata(manifest).items() if name not in PASSED}
    said = {**before, "step": "annotate", **plan.said, "left_out": left_out}
    return shards.join(said), left_out


def annotate_folder(
    manifest: Path | str,
    teacher: Predictor,
    folder: Path | str,
    *,
    identity: str,
    batch: int = 50,
    votes: str | None = None,
    rows: int = PART_ROWS,
    progress: Progress = lambda _done, _total: None,
) -> Annotated:
    """Writes a folder of parts of `rows` rows each, which is a manifest when it is finished (`agewise.data.parted`).

    Each face has `age_probs`, `agreement` where the teacher is an Ensemble, and `age_teacher`, the mean to three
    decimals: a known `age` stays as it is, and a teacher's never takes its name, since steps that score take `age`
    for the truth. Beside the parts are the ages as VMAGE's CSV, what was left out and why, and `run.json`.

    manifest, folder: paths, or URIs of any filesystem that pyarrow or fsspec reach. Memory does not grow with the
    rows. A call after a kill goes on where the first one stopped; a folder of another plan is refused.
    """
    plan = make_plan(manifest, identity, batch=batch, votes=votes, rows=rows)
    place = Folder(folder, plan)
    missing = place.begin()
    todo = sum(len(plan.span(part)) for part in missing)
    step = _Steps(plan.total, todo, progress)
    for part in answered_parts(plan, teacher, runs_of(missing), step):
        place.write(part)
    return place.finish()


class _Steps:
    """Turns rows done now into progress through all rows."""

    def __init__(self, total: int, todo: int, progress: Progress) -> None:
        self.total, self.done, self.progress = total, total - todo, progress
        progress(self.done, total)

    def __call__(self, rows: int) -> None:
        self.done += rows
        self.progress(self.done, self.total)


def _finished(target: Path, said: dict[str, Any]) -> tuple[int, list[tuple[str, str]]]:
    """What annotate returned when it wrote `target`; refuses a file that another manifest or teacher made."""
    earlier = metadata(target)
    if any(earlier.get(key) != value for key, value in said.items()):
        raise ManifestError(f"{target} exists and is not this teacher's for this manifest; delete it, or write another")
    return open_manifest(target).metadata.num_rows, [(row, reason) for row, reason in earlier.get("left_out", [])]
