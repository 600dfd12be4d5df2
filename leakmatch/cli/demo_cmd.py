"""``leakmatch demo``: the main job on a small sample, from nothing to a report."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from leakmatch.cli import options

if TYPE_CHECKING:
    from leakmatch.case.store import Case

SAMPLES = Path(__file__).with_name("demo_assets.toml")


def demo(
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", readable=False, metavar="DIR", help="Where to put input, gallery, case and report."
        ),
    ] = Path("demo-output"),
    from_dir: Annotated[
        Path | None,
        typer.Option("--from", metavar="DIR", help="Take models and photos from this folder instead of the network."),
    ] = None,
    workers: options.WorkersOption = None,
    isolation: options.IsolationOption = None,
) -> None:
    """The main job on a small sample, from nothing to a report.

    Fetches the default models and eight photos (pinned by SHA-256), builds a small "seized" archive of them (a zip in
    the zip, a recompressed copy, a mirrored one, a small face in a large photo, damaged files), enrols two people,
    scans the archive and writes the report. Run it again to see that nothing is done twice.
    """
    from leakmatch.assets import fetch_all, load_assets, place
    from leakmatch.case.report import report as compose
    from leakmatch.case.store import Case
    from leakmatch.cli.demo_archive import EXPECTED, build_archive, build_people
    from leakmatch.cli.progress import shown
    from leakmatch.faces.install import install
    from leakmatch.files import replacing
    from leakmatch.pipeline.enrol import Terms, enroll
    from leakmatch.pipeline.scan import scan
    from leakmatch.sealed.keys import Keys, generate
    from leakmatch.settings import home

    settings = options.settings(workers=workers, isolation=isolation)
    _step("leakmatch models install" + (f" --from {from_dir}" if from_dir else ""))
    install(settings.pack, from_dir=from_dir)
    samples = home() / "samples"
    assets = load_assets(SAMPLES)
    if from_dir is None:
        fetch_all(assets, samples)
    else:
        for asset in assets:
            place(asset, from_dir, samples)

    people, archive = output / "people", output / "seized.zip"
    gallery, key = output / "demo.gallery", output / "demo.key"
    case, page = output / "demo.case", output / "report.html"
    if not case.exists():
        build_people(samples, people)
        build_archive(samples, archive)
    keys = Keys(key_file=key)
    terms = Terms(purpose="demonstration of LeakMatch", legal_basis="official portraits in the public domain")
    if not key.exists():
        _step(f"leakmatch gallery keys generate {key}")
        generate(key)
    stated = f"--purpose '{terms.purpose}' --legal-basis '{terms.legal_basis}'"
    _step(f"leakmatch enroll {gallery} {people} {stated} --key-file {key}")
    with shown("Enrolling", "enrolled", "refused", quiet=False) as progress:
        report = enroll(gallery, [people], settings, progress, keys=keys, terms=terms)
    _say(f"{report.enrolled} photos enrolled, {report.known} known already, {len(report.refused)} refused")
    _step(f"leakmatch scan {archive} --gallery {gallery} --key-file {key} --case {case}")
    with shown("Scanning", "faces", "candidates", quiet=False) as progress:
        scan([archive], gallery, case, settings, progress, keys=keys)
    with Case.open(case) as finished:
        _print_candidates(finished, EXPECTED)
        _step(f"leakmatch report {case} -o {page}")
        page_text = compose(finished)
        with replacing(page) as stream:
            stream.write(page_text.encode("utf-8", "backslashreplace"))
    _say(f"Open it in a browser: {page}")


def _print_candidates(case: Case, expected: dict[str, str]) -> None:
    from leakmatch.case.tables import rows

    found: dict[str, list[str]] = {}
    for row in rows(case, "candidates"):
        score = "-" if row["score"] is None else f"{row['score']:.4f}"
        found.setdefault(str(row["path"]), []).append(
            f"{row['decision']}: {row['subject_id']} ({row['evidence']}, score {score})"
        )
    for item in rows(case, "items"):
        path = str(item["path"])
        if item["kind"] == "container":
            continue
        candidates = "; ".join(found.get(path, [])) or "no candidate"
        _say(f"{path} [{item['outcome']}]: {candidates}\n      put there: {expected.get(path, '')}")


def _step(command: str) -> None:
    sys.stderr.write(f"\n$ {command}\n")


def _say(sentence: str) -> None:
    sys.stderr.write(f"  {sentence}\n")
