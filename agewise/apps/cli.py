"""The command `agewise`: one subcommand a verb."""

from __future__ import annotations

import os
import re
import sys
import warnings
from contextlib import suppress
from importlib import import_module
from typing import Annotated, NoReturn

import typer

COMMANDS = {
    "predict": "predict",
    "import": "sources:import_",
    "prepare": "chain",
    "audit": "audit",
    "splits": "tables",
    "select": "tables",
    "stats": "tables",
    "pack": "shards",
    "unpack": "shards",
    "annotate": "annotate",
    "recalibrate": "annotate",
    "clean": "clean",
    "features": "features",
    "heads": "catalogue",
    "models": "catalogue",
    "train": "chain",
    "average": "chain",
    "teacher": "teacher",
    "evaluate": "evaluate",
    "compare": "compare",
    "gate": "gate",
    "corrupt": "robustness",
    "robustness": "robustness",
    "export": "chain",
    "calibrate": "calibrate",
    "quantize": "quantize",
    "benchmark": "benchmark",
    "card": "card",
}
"""The verbs in the order of `agewise --help`, and where each is: a module beside this one, and in it a function of that
name (or the one after the colon), or an application with verbs of its own. What is heavy they import when called."""


def application(name: str | None = None) -> typer.Typer:
    """The command line with that verb alone, or with all where it is none of them: to build all takes 60 ms."""
    app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)
    app.callback()(_options)
    for verb in [name] if name in COMMANDS else COMMANDS:
        module, _, attribute = COMMANDS[verb].partition(":")
        found = getattr(import_module(f"agewise.apps.{module}"), attribute or verb)
        if isinstance(found, typer.Typer):
            app.add_typer(found, name=verb)
        else:
            app.command(verb)(found)
    return app


def run() -> None:
    """The installed command. `predict` leaves its memory to the system: freeing it is an eighth of a short call."""
    try:
        main()
    except SystemExit as leaving:
        if sys.argv[1:2] == ["predict"] and isinstance(leaving.code, int):
            for stream in filter(None, (sys.stdout, sys.stderr)):  # a closed one is None
                with suppress(OSError):  # nobody reads on
                    stream.flush()
            os._exit(leaving.code)
        raise


def main() -> None:
    """Runs the command line; what the user can mend is one line on stderr and exit code 2."""
    warnings.filterwarnings("ignore", module="PIL")  # of metadata that it skips
    try:
        application(*sys.argv[1:2])()
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
    run()
