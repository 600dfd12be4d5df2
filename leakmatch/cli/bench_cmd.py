"""``leakmatch bench``: throughput on this machine."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from leakmatch.cli import options

if TYPE_CHECKING:
    from leakmatch.bench.figures import Figure

app = typer.Typer(invoke_without_command=True)


@app.callback()
def every(
    context: typer.Context,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """How fast is this machine, and how far from what it could do?

    Without a subject all are measured, in a few minutes: pipeline (a whole scan), embed (faces), search (templates),
    hash (pictures). Beside a figure stands the limit that nothing on this machine can pass, measured in the same run.
    Other work on the machine makes figures worse: close what you can, and trust ratios more than times.

    Example: leakmatch bench pipeline --archive photos.zip
    """
    if context.invoked_subcommand is not None:
        if as_json or quiet:
            raise typer.BadParameter(
                f"give options after the subject: leakmatch bench {context.invoked_subcommand} ..."
            )
    else:
        from leakmatch.bench import embed, hash, pipeline, search

        measures: dict[str, Callable[..., list[Figure]]] = {
            "pipeline": pipeline.run,
            "embed": embed.run,
            "search": search.run,
            "hash": hash.run,
        }
        _show(measures, as_json=as_json, quiet=quiet)


@app.command()
def pipeline(
    archive: Annotated[
        Path | None,
        typer.Option("--archive", readable=False, metavar="PATH", help="A folder or archive of photos to scan."),
    ] = None,
    photos: Annotated[int, typer.Option(min=1, help="Without --archive: how many pictures to generate.")] = 500,
    gallery: Annotated[
        Path | None, typer.Option("--gallery", "-g", readable=False, metavar="FILE", help="A gallery of yours.")
    ] = None,
    key_file: options.KeyFileOption = None,
    members: Annotated[int, typer.Option(min=1, help="Without --gallery: templates to generate.")] = 10_000,
    pack: options.PackOption = None,
    workers: options.WorkersOption = None,
    engine: options.EngineOption = None,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """A whole scan: images and faces a second, stage by stage, processor time, peak memory.

    Give it photos like those you expect: what a scan costs is the faces in them, and the generated pictures have none.
    The scan writes to a temporary folder that is removed. Rates leave out start-up, which has a figure of its own.

    Example: leakmatch bench pipeline --archive photos.zip --members 100000
    """

    def measure() -> list[Figure]:
        from leakmatch.bench.pipeline import run
        from leakmatch.cli.progress import shown

        settings = options.settings(pack=pack, workers=workers, engine=engine)
        with shown("Scanning", "faces", "candidates", quiet=quiet or as_json) as progress:
            return run(settings, archive, gallery, members, photos, progress, keys=options.keys(key_file))

    _show({"pipeline": measure}, as_json=as_json, quiet=quiet)


@app.command()
def embed(
    faces: Annotated[int, typer.Option(min=10, help="Faces to embed for each figure.")] = 200,
    threads: Annotated[int, typer.Option(min=0, help="Cores to use; 0: all that may be used.")] = 0,
    pack: options.PackOption = None,
    engine: options.EngineOption = None,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Embedding one face, by each engine that is installed, beside a bare matrix product of as many multiply-adds.

    Example: leakmatch bench embed --engine onnxruntime
    """

    def measure() -> list[Figure]:
        from leakmatch.bench.embed import run

        settings = options.settings(pack=pack, engine=engine)
        return run(settings.pack, settings.engine, faces, threads)

    _show({"embed": measure}, as_json=as_json, quiet=quiet)


@app.command()
def search(
    templates: Annotated[int, typer.Option(min=1000, help="Templates in the gallery.")] = 1_000_000,
    dimension: Annotated[int, typer.Option(min=2, help="Numbers in a template.")] = 128,
    probes: Annotated[
        list[int] | None, typer.Option(min=1, help="Faces looked for at a time; may be repeated. Default: 64 and 1024.")
    ] = None,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """The join of faces with a gallery, by the plan chosen for this machine, beside faiss and the machine's limits.

    Needs 5 bytes for each number of each template: 640 MB for a million of 128.

    Example: leakmatch bench search --templates 100000 --dimension 512
    """

    def measure() -> list[Figure]:
        from leakmatch.bench.search import run

        return run(templates=templates, dimension=dimension, probes=tuple(probes or (64, 1024)))

    _show({"search": measure}, as_json=as_json, quiet=quiet)


@app.command("hash")
def hashes(
    size: Annotated[
        list[int] | None, typer.Option(min=1, help="Pixels a side; may be repeated. Default: 112, 250 and 1000.")
    ] = None,
    probes: Annotated[
        list[int] | None, typer.Option(min=1, help="Hashes compared at a time; may be repeated. Default: 64 and 1024.")
    ] = None,
    stored: Annotated[int, typer.Option("--hashes", min=1, help="Hashes in the list.")] = 1_000_000,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Perceptual hashes of pictures beside imagehash, and the join of hash lists beside faiss and the memory.

    Example: leakmatch bench hash --size 250 --hashes 10000000
    """

    def measure() -> list[Figure]:
        from leakmatch.bench.hash import run

        return run(sizes=tuple(size or (112, 250, 1000)), probes=tuple(probes or (64, 1024)), hashes=stored)

    _show({"hash": measure}, as_json=as_json, quiet=quiet)


def _show(measures: Mapping[str, Callable[[], list[Figure]]], *, as_json: bool, quiet: bool) -> None:
    """Measure, and print each subject's table as soon as it is there, or one JSON object at the end."""
    from leakmatch.bench.machine import machine

    found: list[dict[str, Any]] = []
    for subject, measure in measures.items():
        if not quiet:
            sys.stderr.write(f"Measuring: {subject}\n")
        figures = measure()
        found += [_record(subject, figure) for figure in figures]
        if not as_json:
            typer.echo("\n".join(_table(subject, figures)))
    if as_json:
        typer.echo(json.dumps({"machine": machine(), "figures": found}, indent=2))


def _record(subject: str, figure: Figure) -> dict[str, Any]:
    record = {"subject": subject, "what": figure.what, "value": figure.value, "unit": figure.unit}
    if figure.limit is not None:
        record |= {"limit": figure.limit, "limit_name": figure.limit_name}
    return record | {"detail": dict(figure.detail)}


_LINE: Final = "{:<36} {:>12} {:<10} {:>12}  {}"


def _table(subject: str, figures: Sequence[Figure]) -> list[str]:
    lines = [_LINE.format(subject, "value", "unit", "limit", "what the limit is, or the share")]
    notes: dict[str, None] = {}
    for figure in figures:
        limit = "" if figure.limit is None else _number(figure.limit)
        share = figure.detail.get("share")
        said = figure.limit_name if share is None else f"{100 * share:.1f} %"
        lines.append(_LINE.format(figure.what, _number(figure.value), figure.unit, limit, said).rstrip())
        if note := figure.detail.get("note"):
            notes[str(note)] = None
    return [*lines, *(f"  {note}" for note in notes), ""]


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
