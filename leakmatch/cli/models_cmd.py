"""``leakmatch models``: place, list and check model packs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from leakmatch.cli.options import JsonOption, QuietOption
from leakmatch.locator import printable

if TYPE_CHECKING:
    from leakmatch.mirrors import Progress

app = typer.Typer(no_args_is_help=True, help="Place, list and check model packs. Nothing else uses the network.")

PackArgument = Annotated[str | None, typer.Argument(metavar="[PACK]", help="Name of the pack; default: the one set.")]


@app.command()
def install(
    pack: PackArgument = None,
    from_dir: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="DIR",
            help="Take the files from this folder instead of the network.",
            exists=True,
            file_okay=False,
        ),
    ] = None,
    quiet: QuietOption = False,
) -> None:
    """Fetch a model pack into the model store, checked by SHA-256, and prepare it for speed.

    The model store is LEAKMATCH_HOME, else the platform's folder for user data. Sources are tried in order: where the
    models were published, then a package index (through pip, with your settings of it). An interrupted download goes
    on where it stopped. For a machine without network, copy the files that `leakmatch models list` names into a
    folder and give it with --from.

    Preparing rewrites the models without changing what they compute; the result is compared with the shipped file.
    """
    from leakmatch.faces.install import install as place

    with _shown(quiet) as progress:
        placed = place(pack or _default(), from_dir=from_dir, progress=progress)
    if not quiet:
        sys.stderr.write(f"{placed.name} {placed.version} is installed in {printable(str(placed.folder))}\n")


@app.command("list")
def list_packs(as_json: JsonOption = False) -> None:
    """List the known model packs, whether they are installed, and the files that they consist of."""
    rows = _rows()
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        state = "installed" if row["installed"] else "not installed"
        typer.echo(f"{row['name']}  version {row['version']}  {state}  {row['folder']}\n  licence: {row['licence']}")
        for file in row["files"]:
            present = "present" if file["present"] else "missing"
            typer.echo(f"  {present}  {file['name']}  {file['bytes']:,} bytes  sha256:{file['sha256']}")


@app.command()
def verify(pack: PackArgument = None, quiet: QuietOption = False) -> None:
    """Check the files of an installed pack (a name, or a folder of your own) by SHA-256, and its prepared models.

    A prepared model is compared with the shipped one again; one that is missing or damaged is made anew.
    """
    from leakmatch.faces.packs import load_pack, verified
    from leakmatch.faces.prepared import check

    checked = load_pack(pack or _default())
    for asset in checked.assets:
        verified(checked, asset.name)
    records = check(checked)
    if not quiet:
        sys.stderr.write(f"{checked.name} {checked.version}: {len(checked.assets)} files are what the pack declares.\n")
        for file, record in records.items():
            sys.stderr.write(f"{file}: prepared, {record.sha256}, cosine {record.cosine:.7f} to the shipped model.\n")


def _default() -> str:
    from leakmatch.settings import load

    return load().pack


def _rows() -> list[dict[str, Any]]:
    from leakmatch.errors import UsageError
    from leakmatch.faces.packs import load_pack, pack_folder, read_pack, shipped, shipped_names

    rows = []
    for name in shipped_names():
        pack, folder = read_pack(shipped(name)), pack_folder(name)
        try:
            load_pack(name)
            installed = True
        except UsageError:  # the answer to the question, not a failure
            installed = False
        files = [
            {"name": a.name, "bytes": a.size, "sha256": a.sha256, "licence": a.licence, "source": a.source}
            | {"present": (folder / a.name).is_file()}
            for a in pack.assets
        ]
        about = {"name": name, "version": pack.version, "licence": pack.licence, "model_id": pack.model_id}
        rows.append(about | {"installed": installed, "folder": str(folder), "files": files})
    return rows


@contextmanager
def _shown(quiet: bool) -> Iterator[Progress]:
    """A bar per file on a terminal; silence elsewhere."""
    from leakmatch.assets import silent

    if quiet or not sys.stderr.isatty():
        yield silent
        return
    from rich.console import Console
    from rich.progress import DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def update(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=None)
            bars.update(tasks[what], completed=done, total=total or None)

        yield update
