"""The verbs that count: splits of a manifest by person, and what manifests hold. What is heavy is imported inside."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agewise.apps.options import Manifest, progress, words

if TYPE_CHECKING:
    from agewise.data.splits import Split

_PARTS = 20
"""As many parts are told one by one; of more, only what lies between."""


def splits(
    manifest: Manifest,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The manifest to write; none for official.")] = None,
    kind: Annotated[str, typer.Option(help="folds, leave-one-out, holdout, or official (only checks).")] = "folds",
    folds: Annotated[int, typer.Option(help="How many folds.")] = 5,
    shares: Annotated[str, typer.Option(help="The parts of a holdout.")] = "train=0.8,valid=0.1,test=0.1",
    seed: Annotated[int, typer.Option(help="Another seed, another split.")] = 0,
    even: Annotated[bool, typer.Option(help="Deal out by age, more evenly; new rows then move others.")] = False,
    keep: Annotated[Path | None, typer.Option(help="An earlier split, whose persons stay where they are.")] = None,
) -> None:
    """Column split by person: nobody is in two parts; with the same seed, a person stays where it is."""
    from agewise.data.splits import split

    if kind == "official":
        if out is not None:
            raise ValueError("official writes nothing: leave out --out")
        return _official(manifest)
    if out is None:
        raise ValueError(f"{kind} needs --out, the manifest to write")
    with progress("faces") as step:
        made = split(
            manifest,
            out,
            kind,
            folds=folds,
            shares=_shares(shares),
            seed=seed,
            even=even,
            keep=keep,
            progress=step,
        )
    print(f"{out}: {kind}, {_persons(made)}")
    print(_balance(out, made))
    return None


def select(
    manifest: Manifest,
    where: Annotated[
        str,
        typer.Argument(help="COLUMN=VALUE, or COLUMN=VALUE,VALUE: split=train; COLUMN= for null.", show_default=False),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The manifest to write.", show_default=False)],
) -> None:
    """The rows with a value in a column, or with none: one part of a split, or what `clean` kept (dropped=)."""
    from agewise.data.selecting import select as run

    column, equals, values = where.partition("=")
    chosen: list[str | None] = [value for value in values.split(",") if value] if values else [None]
    if not equals or not column or not chosen:
        raise ValueError(f"{where!r} selects nothing; write COLUMN=VALUE, such as split=train, or COLUMN= for null")
    with progress("faces") as step:
        made = run(manifest, out, column, chosen, progress=step)
    print(f"{out}: {made.kept} of {made.rows} rows, {where}")


def stats(
    manifests: Annotated[list[Path], typer.Argument(help="Manifests (Parquet, one row a face).", show_default=False)],
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Picture of the ages: PNG, SVG or PDF.")] = None,
    groups: Annotated[str, typer.Option(help="Columns whose values are counted.")] = "sex,ethnicity,age_kind,split",
) -> None:
    """Samples by age group, distribution of ages, sex, ethnicity and subjects of manifests."""
    from agewise.evaluation.stats import facts, named, to_json, to_text
    from agewise.evaluation.stats import stats as count

    columns = words(groups)
    counted = [count(path, columns) for path in manifests]
    found = dict(zip(named(manifests, counted), counted, strict=True))
    if out is not None:
        from agewise.evaluation.stats_figure import draw

        draw(found, out)
    if json:
        print(to_json(found))
        return
    print(to_text(found))
    for name, one in found.items():
        print("\n".join([f"\n{name}", *(f"  {fact}" for fact in facts(one))]))
    if out is not None:
        print(f"\n{out}")


def _official(manifest: Path) -> None:
    from agewise.data.manifest import ManifestError
    from agewise.data.splits import official

    checked, leaks = official(manifest)
    balance = _balance(manifest, checked)  # first: it refuses ages that cannot be
    print(f"{manifest}: official, {_persons(checked)}")
    print(balance)
    for name, parts in list(leaks.items())[:_PARTS]:
        print(f"  {name} is in {' and '.join(parts)}")
    if leaks:
        raise ManifestError(f"{manifest}: {len(leaks)} of {checked.persons} persons are in more than one part")
    print("nobody is in two parts")


def _shares(text: str) -> dict[str, float]:
    """`train=0.8,test=0.2` as names and shares."""
    shares: dict[str, float] = {}
    for item in text.split(","):
        name, _, share = item.partition("=")
        try:
            shares[name.strip()] = float(share)
        except ValueError:
            raise ValueError(f"--shares has {item!r}; such as train=0.8,valid=0.1,test=0.1 is needed") from None
    return shares


def _persons(made: Split) -> str:
    alone = f"; {made.unnamed:,} faces have no subject and count as a person each" if made.unnamed else ""
    return f"{sum(made.faces.values()):,} faces of {made.persons:,} persons in {len(made.faces):,} parts{alone}"


def _balance(manifest: Path, made: Split) -> str:
    """Each part's ages, where the parts are few; else their sizes."""
    from agewise.evaluation.stats import stats_by, to_text

    if len(made.faces) <= _PARTS:
        found = stats_by(manifest, "split")
        return to_text({name: found[name] for name in made.faces}, share=True)
    sizes = sorted(made.faces.values())
    middle = sizes[len(sizes) // 2]
    return f"faces a part: {sizes[0]:,} at the least, {middle:,} in the middle, {sizes[-1]:,} at the most"
