"""Entry point of the ``peelverify`` command."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Annotated

import typer

from peelverify import __version__
from peelverify.errors import PeelverifyError

__all__ = ["COMMANDS", "app", "main"]

COMMANDS = (
    "check", "peel", "rho", "rank", "compress", "evaluate", "study", "certify", "universal", "verify", "diff",
    "prove", "theorems", "cite", "demo", "doctor",
)

_INTERRUPTED = 130

app = typer.Typer(
    name="peelverify",
    help="Which layers of a transformer are under-trained, which can go, and how wrong the compressed model can be.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(value: bool) -> None:
    if value:
        sys.stdout.write(f"peelverify {__version__}\n")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


for _name in COMMANDS:
    importlib.import_module(f"peelverify.cli.{_name}").register(app)


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return its exit status: 0 holds, 1 violated, 2 bad input, 3 open."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        status = app(args=argv, standalone_mode=False)
        if status == _INTERRUPTED:  # the argument parser turns Ctrl-C into this status
            raise KeyboardInterrupt
        return int(status) if isinstance(status, int) else 0
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 2
    except PeelverifyError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        _fail("stopped; nothing half finished was left, and what was finished before is kept")
        return _INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return 141
    except BaseException as error:  # also a panic of compiled code; its exit status 1 would say that a claim is false
        if hasattr(error, "format_message"):  # wrong usage, from the argument parser
            return _fail(error.format_message())
        if os.environ.get("PEELVERIFY_DEBUG"):
            raise
        return _fail(
            f"internal error ({type(error).__name__}: {error}); "
            "set PEELVERIFY_DEBUG=1 to see where, and report it"
        )


def _fail(message: str) -> int:
    from peelverify.cli.console import plain

    sys.stderr.write("error: " + " ".join(plain(message).split()) + "\n")
    return 2


if __name__ == "__main__":
    raise SystemExit(main())
