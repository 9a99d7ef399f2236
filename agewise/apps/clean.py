"""The verb clean: which rows of a noisy corpus should not be learned from, each with the rules that it breaks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agewise.apps.options import Manifest, Out, progress, words


def clean(
    manifest: Manifest,
    out: Out,
    report: Annotated[Path | None, typer.Option(help="Folder of a gallery of what was dropped, and why.")] = None,
    rules: Annotated[str | None, typer.Option(help="Rules to apply, separated by commas; all if none.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A threshold, such as size.least=48; may be given again.")
    ] = None,
    pictures: Annotated[bool, typer.Option(help="Show faces in the gallery.")] = True,
    threads: Annotated[int, typer.Option(min=1, max=256, help="Threads that decode pictures.")] = 2,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Column dropped: the rules that a row breaks. Nothing is deleted (agewise select OUT dropped= keeps the rest)."""
    from agewise.data.replacing import check_place
    from agewise.evaluation.clean_report import facts, rule_table, to_json, write_clean
    from agewise.teachers.cleaning.clean import clean as run
    from agewise.teachers.cleaning.clean import read_rules

    chosen = read_rules(settings or [])
    names = None if rules is None else words(rules)
    for setting in settings or []:
        if names is not None and (rule := setting.partition(".")[0].strip()) not in names:
            raise ValueError(f"--set {setting}: the rule {rule} is not applied; --rules names {', '.join(names)}")
    if report is not None:
        check_place(report / "clean.html")
    with progress("faces") as step:
        found = run(manifest, out, chosen, names, threads=threads, progress=step)
    written = [out] if report is None else [out, *write_clean(found, chosen, report, pictures=pictures)]
    if json:
        print(to_json(found), end="")
        return
    for line in facts(found):
        print(line)
    for name, dropped, alone, judged, limit in rule_table(found)[2]:
        if dropped == "-":
            print(f"  {name:12} {limit}")
        else:
            print(f"  {name:12} {dropped:>14}  {limit} ({alone} by it alone; {judged} judged)")
    print(", ".join(str(path) for path in written))
