"""The command line: registers one module per verb, and turns errors into a sentence and an exit code."""

from __future__ import annotations

import io
import logging
import os
import signal
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Annotated, Any

import typer

from leakmatch import errors
from leakmatch.cli import (
    bench_cmd,
    demo_cmd,
    enroll_cmd,
    evaluate_cmd,
    export_cmd,
    gallery_cmd,
    models_cmd,
    report_cmd,
    rescan_cmd,
    scan_cmd,
    search_cmd,
    verify_cmd,
)
from leakmatch.cli.options import VerboseOption
from leakmatch.errors import LeakMatchError
from leakmatch.locator import printable, printable_lines

app = typer.Typer(
    name="leakmatch",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Finds which people of a protected population are in a seized set of face photos, in which file, and how "
    "sure that is.\n\nBegin with: leakmatch demo. Then: leakmatch models install, enroll, scan, report.",
    epilog="Exit codes: 0 done; 2 usage; 3 done, but something could not be read; 4 integrity; 5 storage; "
    "10 there are matches (--fail-on-match); 130 interrupted; 1 a defect in LeakMatch.",
)
app.add_typer(models_cmd.app, name="models")
app.command("enroll", short_help="Make or extend a gallery from photos of the people to protect.")(enroll_cmd.enroll)
app.add_typer(gallery_cmd.app, name="gallery", short_help="Look after a gallery.")
app.command("search", short_help="Who is in these photos? A quick look, without a case.")(search_cmd.search)
app.command("scan", short_help="Check a seized set against a gallery, and write a case.")(scan_cmd.scan)
app.command("rescan", short_help="Look for people enrolled later, in a case that keeps templates.")(rescan_cmd.rescan)
app.command("forget", short_help="Remove the templates that a case keeps.")(rescan_cmd.forget)
app.command("export", short_help="Write a table of a case as JSONL, CSV or Parquet.")(export_cmd.export)
app.command("report", short_help="Write a case as one HTML file.")(report_cmd.report)
app.command("verify", short_help="Check that a case is sound and its ledger adds up.")(verify_cmd.verify)
app.add_typer(evaluate_cmd.app, name="evaluate")
app.add_typer(bench_cmd.app, name="bench", short_help="How fast is this machine?")
app.command("demo", short_help="The main job on a small sample, from nothing to a report.")(demo_cmd.demo)


def _version(value: bool) -> None:
    if value:
        from importlib import metadata

        typer.echo(f"leakmatch {metadata.version('leakmatch')}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
    verbose: VerboseOption = False,
) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Inert("leakmatch: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    if verbose:
        logging.getLogger("leakmatch").setLevel(logging.INFO)


def main() -> None:
    """Entry point of the ``leakmatch`` command; never returns."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line; returns its exit code."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        result = app(args=arguments, prog_name="leakmatch", standalone_mode=False)
        if result == errors.INTERRUPTED:
            raise KeyboardInterrupt
        return result if isinstance(result, int) else errors.OK
    except LeakMatchError as error:
        code = error.exit_code
        if code == errors.DEFECT:
            return _defect(error)
        _say(str(error))
        return code
    except typer.TyperException as error:
        _show_usage(error)
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        _say("interrupted. What was recorded is safe; run the same command again to go on.")
        return errors.INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone (| head). Nothing is left to say, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return errors.OK
    except OSError as error:
        mapped = errors.os_error(error, error.filename or "input or output")
        _say(str(mapped))
        return mapped.exit_code
    except Exception as error:  # noqa: BLE001 - the last resort: a sentence and a log file, never a bare traceback
        return _defect(error)


def _show_usage(error: typer.TyperException) -> None:
    """The command line was wrong: typer's own message with the usage line, or the help where nothing was given."""
    show = getattr(error, "show", None)
    if callable(show):
        told = io.StringIO()
        show(file=told)  # it repeats the arguments, and a shell may have made them from names of files
        sys.stderr.write(printable_lines(told.getvalue()))
    else:
        _say(str(error))


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def _say(sentence: str) -> None:
    sys.stderr.write(f"leakmatch: {printable(sentence)}\n")


class _Inert(logging.Formatter):
    """Messages may speak of names; nothing in them acts on a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        return printable_lines(super().format(record))


def _defect(error: BaseException) -> int:
    with tempfile.NamedTemporaryFile("w", prefix="leakmatch-", suffix=".log", delete=False, encoding="utf-8") as log:
        log.write("".join(traceback.format_exception(error)))
    _say(f"this is a defect in LeakMatch, please report it with the log {Path(log.name)} ({type(error).__name__}).")
    return errors.DEFECT
