"""``leakmatch search``: who is in these photos?"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from leakmatch import errors
from leakmatch.cli import options
from leakmatch.locator import printable


def search(
    photos: Annotated[
        list[Path], typer.Argument(readable=False, metavar="PHOTO...", help="Photos, folders or archives.")
    ],
    gallery: options.GalleryOption,
    key_file: options.KeyFileOption = None,
    pack: options.PackOption = None,
    expected_false: options.ExpectedFalseOption = None,
    threshold: options.ThresholdOption = None,
    every: Annotated[bool, typer.Option("--all", help="Weak candidates too.")] = False,
    fail_on_match: Annotated[bool, typer.Option("--fail-on-match", help="Exit with 10 if there is a match.")] = False,
    as_json: options.JsonOption = False,
    workers: options.WorkersOption = None,
    engine: options.EngineOption = None,
    isolation: options.IsolationOption = None,
    approximate: options.ApproximateOption = None,
    verbose: options.VerboseOption = False,
) -> None:
    """Who is in these photos? Candidates on the terminal; no case is written.

    Example: leakmatch search found.jpg --gallery school.gallery
    """
    from leakmatch.case.approximate import in_words
    from leakmatch.pipeline.search import search as run

    settings = options.settings(
        pack=pack,
        workers=workers,
        expected_false=expected_false,
        threshold=threshold,
        engine=engine,
        isolation=isolation,
        approximate=approximate,
    )
    options.warn_of_isolation(settings)
    result = run(photos, gallery, settings, keys=options.keys(key_file))
    candidates = [row for row in result.candidates if every or row["decision"] != "weak"]
    if as_json:
        body = {"candidates": candidates, "problems": result.problems, "photos": result.photos, "faces": result.faces}
        body |= {} if result.approximate is None else {"approximate": result.approximate}
        typer.echo(json.dumps(body, ensure_ascii=True, indent=2))
    else:
        _print(candidates, result.problems)
        if result.approximate is not None:
            sys.stderr.write(" ".join(in_words(result.approximate)) + "\n")
        sys.stderr.write(f"{result.faces} faces in {result.photos} photos, {len(candidates)} candidates.\n")
    unread = any(row["outcome"] not in {"no-face", "not-image"} for row in result.problems)
    matched = fail_on_match and any(row["decision"] == "match" for row in candidates)
    code = errors.exit_code([errors.MATCHED] * matched + [errors.INCOMPLETE] * unread)
    if code:
        raise typer.Exit(code)


def _print(candidates: list[dict[str, Any]], problems: list[dict[str, Any]]) -> None:
    if candidates:
        typer.echo(f"{'decision':<8} {'score':>7} {'expected false':>14}  {'evidence':<12} subject, photo")
    for row in candidates:
        score = "-" if row["score"] is None else f"{row['score']:.4f}"
        expected = "-" if row["expected_false"] is None else f"{row['expected_false']:.2g}"
        name = f" ({printable(row['name'])})" if row["name"] else ""
        where = f"{printable(row['subject_id'])}{name}, {printable(row['path'])}"
        if row["face"] is not None:
            where += f" face {row['face']}"
        typer.echo(f"{row['decision']:<8} {score:>7} {expected:>14}  {row['evidence']:<12} {where}")
    for row in problems:
        typer.echo(f"{row['outcome']:<8} {printable(row['path'])}: {printable(row['detail'])}")
