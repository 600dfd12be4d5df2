"""A rescan gives what a scan with the later gallery would give, and changes nothing of what it reads."""

from __future__ import annotations

import base64
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from leakmatch.case.store import Case
from leakmatch.case.tables import rows
from leakmatch.errors import IntegrityError, ModelMismatch, UsageError, WrongKey
from leakmatch.gallery.store import Gallery
from leakmatch.pipeline import rescan as module
from leakmatch.pipeline import second_look
from leakmatch.pipeline.enrol import enroll
from leakmatch.pipeline.kept import KeptTemplates
from leakmatch.pipeline.rescan import rescan
from leakmatch.pipeline.scan import scan
from leakmatch.records import Budget, ImageAnalysis, Outcome
from leakmatch.sealed.keys import Keys, generate
from leakmatch.settings import Settings

pytestmark = pytest.mark.models

GIVEN = {"isolation": False, "workers": 1}
TABLES = ("items", "faces", "incidents", "candidates", "subjects")
#: The largest file of the material, byte for byte an enrolled photo: it is not looked at, and found all the same.
LARGEST = "obama.jpg"


def shrunk(path: Path, side: int) -> Image.Image:
    picture = Image.open(path).convert("RGB")
    picture.thumbnail((side, side))
    return picture


class Setting:
    """A folder with a case that keeps templates, of people of whom one is enrolled later."""

    def __init__(self, folder: Path, photos: Path) -> None:
        self.folder, self.key = folder, folder / "case.key"
        self.gallery, self.later, self.case = folder / "a.gallery", folder / "later.gallery", folder / "a.case"
        self.keys = Keys(key_file=self.key)
        generate(self.key)
        self.seized = folder / "seized"
        self.seized.mkdir()
        for name in ("astronaut.png", "obama2.jpg", "biden.jpg"):
            small, stem = shrunk(photos / name, 240), Path(name).stem
            small.save(self.seized / f"{stem}.jpg", quality=85)
            small.rotate(20, fillcolor="gray").save(self.seized / f"{stem} turned.jpg", quality=60)
        shutil.copy(self.seized / "biden.jpg", self.seized / "copy.jpg")
        frames = [Image.open(self.seized / f"{name}.jpg").resize((200, 200)) for name in ("biden", "astronaut")]
        frames[0].save(self.seized / "two.gif", save_all=True, append_images=frames[1:], duration=500)
        (self.seized / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 broken")
        (self.seized / "text.txt").write_text("no picture", encoding="utf-8")
        enrolled = folder / "photos"
        enrolled.mkdir()
        for name in ("astronaut.png", "biden.jpg", LARGEST):
            shrunk(photos / name, 640 if name == LARGEST else 320).save(enrolled / name, quality=95)
        shutil.copy(enrolled / LARGEST, self.seized)
        limit = (enrolled / LARGEST).stat().st_size - 1
        self.settings = Settings(isolation=False, workers=1, budget=Budget(member_bytes=limit))
        for gallery, people in (
            (self.gallery, {"collins": "astronaut.png"}),
            (self.later, {"biden": "biden.jpg", "obama": LARGEST, "collins": "astronaut.png"}),
        ):
            for person, name in people.items():
                (folder / gallery.stem / person).mkdir(parents=True)
                shutil.copy(enrolled / name, folder / gallery.stem / person)
            enroll(gallery, [folder / gallery.stem], Settings(isolation=False, workers=1))
        scan([self.seized], self.gallery, self.case, self.settings, keep=self.keys)

    def seen(self) -> dict[tuple[int, int], list[ImageAnalysis]]:
        """What is kept."""
        with Case.open(self.case) as case:
            kept = KeptTemplates.of(case, self.keys.secret("x"))
            return {key: kept.open(*key[:2], sealed, "") for key, _, _, sealed in case.probes() if sealed is not None}


@pytest.fixture(scope="module")
def setting(pack_home: Path, sample_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setting]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("LEAKMATCH_HOME", str(pack_home))
        patched.setattr(second_look, "NEAR", (0.0, 1e9))  # these few faces, who are who they are, are all near
        yield Setting(tmp_path_factory.mktemp("rescan"), sample_photos)


def exported(path: Path) -> dict[str, Any]:
    with Case.open(path) as case:
        case.verify()
        found: dict[str, Any] = {w: list(rows(case, w, every=w in ("candidates", "subjects"))) for w in TABLES}
        for table in ("crops", "second_looks", "stops", "finished_files"):
            found[table] = list(case.select(f"SELECT * FROM {table} ORDER BY 1, 2, 3"))
        return found | {"summary": {**(case.finished or {}), "finished": None}}


@pytest.mark.parametrize("how", [{"expected_false": 0.01}, {"threshold": 0.1}])
def test_it_gives_what_a_scan_with_that_gallery_gives(setting: Setting, tmp_path: Path, how: dict[str, float]) -> None:
    before = setting.case.read_bytes()
    there = sorted(setting.folder.iterdir())
    new = rescan(setting.case, setting.later, tmp_path / "new.case", GIVEN | how, case_keys=setting.keys)
    settings = Settings(isolation=False, workers=1, budget=setting.settings.budget, **how)  # type: ignore[arg-type]
    scan([setting.seized], setting.later, tmp_path / "fresh.case", settings)
    found = exported(new)
    assert found == exported(tmp_path / "fresh.case")
    assert {row["subject_id"] for row in found["subjects"]} == {"biden", "obama", "collins"}
    assert ("obama", "same-file", None) in {(r["subject_id"], r["evidence"], r["face"]) for r in found["candidates"]}
    assert bool(found["second_looks"]) == ("threshold" not in how)
    assert setting.case.read_bytes() == before
    assert sorted(setting.folder.iterdir()) == there
    assert sorted(p.name for p in tmp_path.iterdir()) == ["fresh.case", "new.case"]


def test_the_new_case_says_what_it_is_of_and_keeps_nothing(setting: Setting, tmp_path: Path) -> None:
    new = rescan(setting.case, setting.later, tmp_path / "new.case", GIVEN, case_keys=setting.keys)
    with Case.open(new) as case, Case.open(setting.case) as scanned, Gallery.open(setting.later) as gallery:
        (run,) = rows(case, "run")
        (old,) = rows(scanned, "run")
        assert (run["kept_templates"], old["kept_templates"], old["rescan"]) == (False, True, None)
        of = run["rescan"]
        assert isinstance(of, dict)
        assert (of["case_id"], of["content_digest"]) == (old["case_id"], scanned.digest)
        assert run["case_id"] != old["case_id"]
        assert run["gallery"]["id"] == gallery.id  # type: ignore[index]
        assert (run["sources"], run["files"]) == (old["sources"], old["files"])
        entries = [entry for entry in gallery.log() if entry["action"] == "rescan"]
        assert entries[-1]["case"] == str(setting.case)
    with pytest.raises(UsageError, match="is a rescan itself"):
        rescan(new, setting.later, case_keys=setting.keys)


def test_it_is_named_beside_the_case_and_replaces_none(setting: Setting) -> None:
    first = rescan(setting.case, setting.later, given=GIVEN, case_keys=setting.keys)
    second = rescan(setting.case, setting.later, given=GIVEN, case_keys=setting.keys)
    assert [first.name, second.name] == ["a-rescan-1.case", "a-rescan-2.case"]
    first.unlink()
    with pytest.raises(UsageError, match="is there already"):
        rescan(setting.case, setting.later, second, GIVEN, case_keys=setting.keys)
    second.unlink()


def test_an_interrupted_one_leaves_nothing_and_what_a_killed_one_left_is_removed(
    setting: Setting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    new = tmp_path / "new.case"
    monkeypatch.setattr(module, "COMMIT_ITEMS", 2)
    with pytest.raises(KeyboardInterrupt):
        rescan(setting.case, setting.later, new, GIVEN, stop, case_keys=setting.keys)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / ".new.case.rescan").write_bytes(b"half of a case")
    (tmp_path / ".new.case.rescan-journal").write_bytes(b"its journal")
    rescan(setting.case, setting.later, new, GIVEN, case_keys=setting.keys)
    assert list(tmp_path.iterdir()) == [new]


def test_what_cannot_be_rescanned_is_refused(setting: Setting, tmp_path: Path) -> None:
    new = tmp_path / "new.case"
    other = tmp_path / "other.key"
    generate(other)
    with pytest.raises(WrongKey):
        rescan(setting.case, setting.later, new, GIVEN, case_keys=Keys(key_file=other))
    with pytest.raises(UsageError, match="--case-key-file"):
        rescan(setting.case, setting.later, new, GIVEN, case_keys=Keys(offer="Give --case-key-file FILE"))
    Gallery.create(tmp_path / "m.gallery", "another", "00ff:fp32:1", 128).close()
    with pytest.raises(ModelMismatch):
        rescan(setting.case, tmp_path / "m.gallery", new, GIVEN, case_keys=setting.keys)
    plain = tmp_path / "plain.case"
    scan([setting.seized / "copy.jpg"], setting.gallery, plain, setting.settings)
    with pytest.raises(UsageError, match="--keep-templates"):
        rescan(plain, setting.later, new, GIVEN, case_keys=setting.keys)
    shutil.copy(setting.case, tmp_path / "a.case")
    with Case.resume(tmp_path / "a.case") as case, case._database.transaction():
        case._database.delete("meta", "key IN ('finished', 'kept_end')")
    with pytest.raises(UsageError, match="has not finished"):
        rescan(tmp_path / "a.case", setting.later, new, GIVEN, case_keys=setting.keys)
    shutil.copy(setting.case, tmp_path / "b.case")
    with Case.resume(tmp_path / "b.case") as case, case._database.transaction():
        case._database.delete("kept", "rowid = 3")
    with pytest.raises(IntegrityError, match="was looked at, and its kept templates are missing"):
        rescan(tmp_path / "b.case", setting.later, new, GIVEN, case_keys=setting.keys)
    shutil.copy(setting.case, tmp_path / "c.case")
    with Case.resume(tmp_path / "c.case") as case, case._database.transaction():
        run = case.run
        case._database.put("run", run | {"pack": run["pack"] | {"model_id": "00ff:fp32:1"}})
    with pytest.raises(ModelMismatch, match="00ff"):
        rescan(tmp_path / "c.case", setting.later, new, GIVEN, case_keys=setting.keys)
    assert not new.exists()


def test_a_scan_goes_on_with_the_same_keeping_and_the_same_key(setting: Setting, tmp_path: Path) -> None:
    def stop(**_: object) -> None:
        raise KeyboardInterrupt

    sources, case, plain = [setting.seized], tmp_path / "a.case", tmp_path / "plain.case"
    for path, keep in ((case, setting.keys), (plain, None)):
        with pytest.raises(KeyboardInterrupt):
            scan(sources, setting.gallery, path, setting.settings, stop, keep=keep)
    other = tmp_path / "other.key"
    generate(other)
    with pytest.raises(IntegrityError, match="began with --keep-templates, and is now to be continued without"):
        scan(sources, setting.gallery, case, setting.settings)
    with pytest.raises(IntegrityError, match="began without --keep-templates, and is now to be continued with"):
        scan(sources, setting.gallery, plain, setting.settings, keep=setting.keys)
    with pytest.raises(WrongKey):
        scan(sources, setting.gallery, case, setting.settings, keep=Keys(key_file=other))
    scan(sources, setting.gallery, case, setting.settings, keep=setting.keys)
    assert exported(case) == exported(setting.case)


_KILLED = """
import os, signal, sys
from pathlib import Path
from leakmatch.database import Database
from leakmatch.pipeline import scan_sink
from leakmatch.pipeline.scan import scan
from leakmatch.records import Budget
from leakmatch.sealed.keys import Keys
from leakmatch.settings import Settings

seized, gallery, case, key, limit, left = sys.argv[1:]
left, insert, scan_sink.COMMIT_ITEMS = int(left), Database.insert, 1


def killing(self, table, rows):
    global left
    insert(self, table, rows)
    left -= table == "kept"
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)


Database.insert = killing
settings = Settings(isolation=False, workers=1, budget=Budget(member_bytes=int(limit)))
scan([Path(seized)], Path(gallery), Path(case), settings, keep=Keys(key_file=Path(key)))
"""


def test_after_a_kill_in_the_middle_of_a_commit_everything_is_kept_all_the_same(
    setting: Setting, tmp_path: Path
) -> None:
    case, limit = tmp_path / "a.case", setting.settings.budget.member_bytes
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, setting.seized, setting.gallery, case, setting.key, str(limit), "6"],
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    with Case.open(case) as opened:
        assert 0 < opened.count("kept") < len(setting.seen())
        opened.verify()
    scan([setting.seized], setting.gallery, case, setting.settings, keep=setting.keys)
    assert exported(case) == exported(setting.case)
    again = rescan(case, setting.gallery, tmp_path / "new.case", GIVEN, case_keys=setting.keys)
    assert exported(again) == exported(setting.case)


# Nothing of a stranger can be read in any case without the key


def _windows(content: bytes) -> set[bytes]:
    """Every 16 bytes in a row that are not too much alike to say something."""
    found = {content[i : i + 16] for i in range(len(content) - 15)}
    return {window for window in found if len(set(window)) >= 6}


def _written(content: bytes) -> Iterator[bytes]:
    """As bytes, in hexadecimal, and in base64 from each place where a group may begin."""
    yield content
    yield content.hex().encode()
    yield content.hex().upper().encode()
    for start in range(3):
        yield base64.b64encode(content[start:])


def _biometric(analyses: list[ImageAnalysis], shown: set[tuple[int, int]]) -> Iterator[bytes]:
    """Templates, hashes and crops of faces. ``shown``: frame and number of those whose crop a case shows.

    The two hashes of the picture as a whole are in every ledger, and of the picture, not of a face.
    """
    for analysis in analyses:
        if analysis.templates is None:
            continue
        for vector in analysis.templates.vectors:
            yield vector.tobytes()
            yield vector.astype(np.float16).tobytes()
            yield np.round(vector * 127).astype(np.int8).tobytes()
        for batch in analysis.face_hashes:
            yield from (row.tobytes() for row in batch.bits if len(row) >= 16)
        yield b"".join(batch.bits.tobytes() for batch in analysis.face_hashes)
        yield b"".join(batch.bits.tobytes() for batch in analysis.picture_hashes[2:])
        for face, crop in enumerate(analysis.crops):
            if (analysis.frame, face) not in shown:
                yield crop[len(crop) // 2 :]  # they begin alike, with the tables of the JPEG encoder


def test_no_case_holds_a_template_hash_or_crop_of_a_stranger_in_the_open(setting: Setting, tmp_path: Path) -> None:
    plain = tmp_path / "plain.case"
    scan([setting.seized], setting.gallery, plain, setting.settings)
    new = rescan(setting.case, setting.later, tmp_path / "new.case", GIVEN, case_keys=setting.keys)
    for path in (plain, setting.case, new):
        with Case.open(path) as case:
            shown: dict[tuple[int, int], set[tuple[int, int]]] = {}
            for file, position, frame, face in case.select("SELECT file, position, frame, face FROM crops"):
                shown.setdefault((file, position), set()).add((frame, face))
        wanted: set[bytes] = set()
        for (file, position, *_), analyses in setting.seen().items():
            for content in _biometric(analyses, shown.get((file, position), set())):
                for text in _written(content):
                    wanted |= _windows(text)
        assert len(wanted) > 100_000
        assert wanted & _windows(b"".join(a.templates.vectors.tobytes() for a in _first(setting) if a.templates))
        assert not wanted & _windows(path.read_bytes())
    sealed = b"".join(piece for _, _, _, piece in _pieces(setting.case))
    assert len(set(sealed)) == 256
    with Case.open(plain) as case:
        assert not case.keeps
        assert not list(case.select("SELECT 1 FROM sqlite_master WHERE name = 'kept'"))


def _first(setting: Setting) -> list[ImageAnalysis]:
    return next(iter(setting.seen().values()))


def _pieces(path: Path) -> list[Any]:
    with Case.open(path) as case:
        return [probe for probe in case.probes() if probe[3] is not None]


def test_what_is_kept_is_complete(setting: Setting) -> None:
    seen = list(setting.seen().values())
    assert sum(len(analyses) for analyses in seen) == 9, "eight files, a copy not counted, and a second frame"
    outcomes = sorted(str(analyses[0].outcome) for analyses in seen)
    assert outcomes.count(str(Outcome.UNREADABLE)) == 1
    faces = [analysis for analyses in seen for analysis in analyses if len(analysis.faces)]
    assert all(len(analysis.crops) == len(analysis.faces) for analysis in faces)
    assert all(analysis.templates is not None for analysis in faces)
