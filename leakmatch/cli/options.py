"""Options that several commands share, and the settings they add up to."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from leakmatch.sealed.keys import Keys
    from leakmatch.settings import Settings

GalleryArgument = Annotated[Path, typer.Argument(readable=False, metavar="GALLERY", help="The gallery file.")]
GalleryOption = Annotated[
    Path, typer.Option("--gallery", "-g", readable=False, metavar="FILE", help="The gallery to compare with.")
]
PackOption = Annotated[
    str | None,
    typer.Option("--pack", metavar="NAME|PATH", help="Model pack: a name, or a folder with a pack.toml."),
]
EngineOption = Annotated[
    str | None,
    typer.Option(
        "--engine",
        metavar="auto|onnxruntime|openvino",
        help="What runs the models; default auto: OpenVINO where it is installed and clearly faster here.",
    ),
]
WorkersOption = Annotated[
    int | None, typer.Option("--workers", metavar="N", help="Worker processes; default: one for each core.")
]
ExpectedFalseOption = Annotated[
    float | None,
    typer.Option(
        "--expected-false",
        metavar="X",
        help="How many false matches to accept in the whole scan; default 1. Lower is stricter.",
    ),
]
ThresholdOption = Annotated[
    float | None,
    typer.Option("--threshold", metavar="S", help="Decide faces by this raw score (-1 to 1) instead."),
]
ApproximateOption = Annotated[
    bool | None,
    typer.Option(
        "--approximate",
        help="Compare faces approximately where that is faster: up to one in a thousand candidates may be missed, and "
        "the case says what was measured. Worth a try for millions of templates and very long scans only; for most "
        "galleries of faces the exact comparison is as fast, and is used nonetheless.",
        show_default=False,
    ),
]
PasswordsOption = Annotated[
    Path | None,
    typer.Option(
        "--passwords",
        readable=False,
        metavar="FILE",
        help="Passwords to try on locked archives, one on each line. Which line opened what is recorded, never the "
        "password.",
    ),
]
KeyFileOption = Annotated[
    Path | None,
    typer.Option(
        "--key-file",
        readable=False,
        envvar="LEAKMATCH_KEY_FILE",
        metavar="FILE",
        help="What opens a sealed gallery: any file of 32 bytes or more, used as it is. Without one: the passphrase in "
        "LEAKMATCH_PASSPHRASE, else it is asked for on a terminal.",
    ),
]
CaseKeyFileOption = Annotated[
    Path | None,
    typer.Option(
        "--case-key-file",
        readable=False,
        metavar="FILE",
        help="What the templates that a case keeps are sealed with: any file of 32 bytes or more, used as it is. "
        "Without one: the passphrase in LEAKMATCH_CASE_PASSPHRASE, else the key given for the gallery.",
    ),
]
UnsealedOption = Annotated[
    bool,
    typer.Option(
        "--unsealed",
        help="Make a new gallery without encryption: whoever has the file can recognise these people.",
        show_default=False,
    ),
]
PurposeOption = Annotated[
    str, typer.Option("--purpose", metavar="TEXT", help="What a new gallery is for; every report says it.")
]
LegalBasisOption = Annotated[
    str, typer.Option("--legal-basis", metavar="TEXT", help="What allows a new gallery; every report says it.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no summary.")]
IsolationOption = Annotated[
    bool | None,
    typer.Option(
        "--isolation/--no-isolation",
        help="Parse input in worker processes (default, Linux), or in this process: slower, and a hostile file that "
        "crashes a decoder ends the run.",
    ),
]


def log_more(value: bool) -> None:
    """Begin to log on standard error: warnings always, decisions of the pipeline with ``-v``."""
    if value:
        logging.getLogger("leakmatch").setLevel(logging.INFO)


VerboseOption = Annotated[bool, typer.Option("-v", "--verbose", callback=log_more, help="Say more on standard error.")]


def warn_of_isolation(settings: Settings) -> None:
    """One line on standard error where this machine cannot hold a file that takes over what reads it."""
    from leakmatch.pipeline.start import confinement

    held = confinement(settings)
    if held is None:
        sys.stderr.write(
            "leakmatch: WARNING: no process isolation: input is parsed in this process. Use it on input you trust.\n"
        )
    elif missing := held.missing():
        sys.stderr.write(
            "leakmatch: WARNING: weak isolation: on this machine a malicious file that takes over a worker process "
            f"could {' and '.join(missing)} (docs/isolation.md). Use a newer Linux, or a machine for this alone.\n"
        )


def keys(key_file: Path | None) -> Keys:
    """What the user offers to open or seal files with. The passphrase is taken out of this process's environment."""
    from leakmatch.sealed.keys import Keys

    return Keys(key_file, os.environ.pop("LEAKMATCH_PASSPHRASE", None), asked())


def case_keys(key_file: Path | None, keys: Keys) -> Keys:
    """What the user offers to seal the templates in a case with, or to open them: else what opens the gallery.

    A passphrase that would be asked for is asked for each on its own.
    """
    from leakmatch.sealed.keys import Keys

    offer = "Give --case-key-file FILE or set LEAKMATCH_CASE_PASSPHRASE."
    passphrase = os.environ.pop("LEAKMATCH_CASE_PASSPHRASE", None)
    if key_file is None and passphrase is None:
        key_file, passphrase = keys.key_file, keys.passphrase
    return Keys(key_file, passphrase, asked(), offer)


def asked() -> Callable[[str, bool], str] | None:
    """How a passphrase is asked for; ``None`` where there is no terminal to ask on."""
    on_terminal = sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()
    return _ask if on_terminal else None


def other_keys(key_file: Path | None, variable: str, keys: Keys) -> Keys:
    """What is offered for another file: a key file of its own, or the passphrase in the environment's ``variable``.

    Without either the same ``keys``; it is taken out of this process's environment.
    """
    from leakmatch.sealed.keys import Keys

    passphrase = os.environ.pop(variable, None)
    return keys if key_file is None and passphrase is None else Keys(key_file, passphrase, asked())


def keys_for(gallery: Path, key_file: Path | None, *, unsealed: bool) -> Keys | None:
    """As :func:`keys`; ``None`` where a new gallery is to be left unsealed."""
    return None if unsealed and not gallery.exists() else keys(key_file)


def _ask(question: str, confirm: bool) -> str:
    answer = typer.prompt(
        question, hide_input=True, confirmation_prompt=confirm, err=True, default="", show_default=False
    )
    return str(answer)


def settings(**given: Any) -> Settings:
    """Settings from file, environment and the options given (``None``: not given)."""
    from leakmatch.settings import load

    return load(given)
