"""The command `agewise`: one subcommand a verb."""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Callable
from typing import Annotated, NoReturn

import typer

from agewise.apps.annotate import annotate, recalibrate
from agewise.apps.audit import audit
from agewise.apps.benchmark import benchmark
from agewise.apps.calibrate import calibrate
from agewise.apps.catalogue import heads, models
from agewise.apps.chain import export, prepare, train
from agewise.apps.clean import clean
from agewise.apps.compare import compare
from agewise.apps.evaluate import evaluate
from agewise.apps.features import features
from agewise.apps.gate import gate
from agewise.apps.predict import predict
from agewise.apps.quantize import quantize
from agewise.apps.robustness import corrupt, robustness
from agewise.apps.shards import pack, unpack
from agewise.apps.sources import import_
from agewise.apps.tables import select, splits, stats
from agewise.apps.teacher import teacher

COMMANDS: tuple[Callable[..., None], ...] = (
    predict,
    import_,
    prepare,
    audit,
    splits,
    select,
    stats,
    pack,
    unpack,
    annotate,
    recalibrate,
    clean,
    features,
    heads,
    models,
    train,
    evaluate,
    compare,
    gate,
    corrupt,
    robustness,
    export,
    calibrate,
    quantize,
    benchmark,
)
"""One function a verb, in the order of `agewise --help`; what is heavy they import when they are called."""

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)
for _command in COMMANDS:
    app.command(_command.__name__.rstrip("_"))(_command)
app.add_typer(teacher, name="teacher")


def main() -> None:
    """Runs the command line; what the user can mend is one line on stderr and exit code 2."""
    warnings.filterwarnings("ignore", module="PIL")  # of metadata that it skips
    try:
        app()
    except ModuleNotFoundError as error:
        extra = _extra(error.name or "")
        if extra is None or _debug():
            raise
        command = " ".join(["agewise", *sys.argv[1:2]])
        _fail(f"{command} needs {error.name}: pip install 'agewise[{extra}]'")
    except (ValueError, OSError) as error:
        if _debug():
            raise
        _fail(_message(error))


def _version(wanted: bool) -> None:
    if wanted:
        import agewise

        typer.echo(f"agewise {agewise.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Ages from face photos. AGEWISE_DEBUG=1 shows where an error came from."""


def _debug() -> bool:
    return os.environ.get("AGEWISE_DEBUG", "") not in ("", "0")


def _message(error: ValueError | OSError) -> str:
    if isinstance(error, OSError) and error.strerror:
        name = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
        return name + error.strerror
    return " ".join(str(error).split()) or type(error).__name__


def _extra(module: str) -> str | None:
    """The optional part of agewise that brings a module; None where none does."""
    from importlib.metadata import PackageNotFoundError, requires

    try:
        needs = requires("agewise") or []
    except PackageNotFoundError:
        return None
    for need in needs:
        found = re.fullmatch(r"([\w-]+).*extra\s*==\s*['\"](\w+)['\"]", need)
        if found and found[1].replace("-", "_").lower() == module.partition(".")[0].lower():
            return found[2]
    return None


def _fail(message: str) -> NoReturn:
    print(f"agewise: {message}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
