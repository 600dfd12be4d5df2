"""A gallery that is exported and imported again is the same gallery, sealed or not; what is not whole is refused."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from galleries import gallery_of, pack, people

from leakmatch.errors import IntegrityError, ModelMismatch, UsageError, WrongKey
from leakmatch.gallery import template_files, templates
from leakmatch.gallery.store import FACE, PICTURE, Enrolment, Gallery, Photo
from leakmatch.gallery.template_files import open_templates
from leakmatch.gallery.transfer import export_templates, import_templates
from leakmatch.records import HashBatch
from leakmatch.sealed.keys import Keys, generate


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Galleries of a few photos have several parts."""
    for module in (template_files, templates):
        monkeypatch.setattr(module, "PART", 4)


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    generate(tmp_path / "k")
    return Keys(tmp_path / "k")


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    """Ten photos with names, days and hashes; one without SHA-256 and hashes; one with face hashes; a refused one."""
    shots = [replace(shot, content=shot.content + 1) for shot in people(np.random.default_rng(0), 5, 2)]
    made = gallery_of(tmp_path / "a.gallery", shots)
    vector = people(np.random.default_rng(1), 2)
    face = HashBatch("phash64/test", np.full((1, 8), 7, np.uint8), np.ones(1, np.float32), np.zeros(1, np.int32))
    made.add(
        [
            Enrolment(Photo("p0001", "from/elsewhere", None, "", "imported", 0.25), vector[0].vector, (), ()),
            Enrolment(Photo('Ä, "B"', "x\ny.jpg", b"\7" * 32, "", "2 faces", 0.5), vector[1].vector, (), (face,)),
        ],
        [Photo("nobody", "dark.jpg", b"\1" * 32, "no-face", "no face was found", 0.0)],
        {"nobody": "Nora"},
        {"nobody": "2032-02-29"},
    )
    made.people.rename("p0000", name="Anna")
    made.people.expire({"p0000": "2031-01-31"})
    made.describe(purpose="to find leaks", legal_basis="a law")
    return made


def content(gallery: Gallery) -> object:
    """All that an export keeps, without enrolment ids."""
    hashes = [
        (
            scope,
            algorithm,
            found.bits.tolist(),
            found.quality.tolist(),
            list(map(gallery.path_of, found.enrolment_id.tolist())),
        )
        for scope in (PICTURE, FACE)
        for algorithm, found in sorted(gallery.hashes(scope).items())
    ]
    subjects = list(gallery.subjects())
    photos = [
        photo | {"enrolment_id": 0}
        for subject in subjects
        for photo in gallery.photos(subject["subject_id"])
        if not photo["refusal"]
    ]
    return [s | {"refused": 0} for s in subjects], photos, hashes, gallery.templates()[:].tolist()


@pytest.mark.parametrize("sealed", [True, False])
@pytest.mark.parametrize("format", ["npz", "parquet"])
def test_nothing_is_lost_but_refused_photos(
    gallery: Gallery, keys: Keys, tmp_path: Path, format: str, sealed: bool
) -> None:
    out = tmp_path / "out"
    secret = keys.secret("out", new=True) if sealed else None
    assert export_templates(gallery, out, format, secret=secret) == 12
    assert (b"to find leaks" in out.read_bytes()) != sealed
    with Gallery.create(tmp_path / "b.gallery", "test", pack().model_id, 128) as second:
        report = import_templates(second, out, keys=keys)
        assert (report.added, report.subjects, report.refusals, report.sealed) == (12, 7, 0, sealed)
        assert content(second) == content(gallery)
        second.verify()
        assert [noted["action"] for noted in second.log()] == ["create", "imported"]
        again = import_templates(second, out, keys=keys)
        assert (again.added, again.known) == (0, 12)
        export_templates(second, tmp_path / "again", format)
        third = import_templates(gallery, tmp_path / "again")
        assert (third.added, third.known, third.subjects) == (0, 12, 0)


def test_what_a_file_says_of_its_gallery(gallery: Gallery, keys: Keys, tmp_path: Path) -> None:
    export_templates(gallery, tmp_path / "a.npz", "npz")
    export_templates(gallery, tmp_path / "b.npz", "npz", secret=keys.secret("b", new=True))
    with open_templates(tmp_path / "a.npz") as plain, open_templates(tmp_path / "b.npz", keys) as sealed:
        assert (plain.sealed, sealed.sealed) == (False, True)
        assert plain.about == sealed.about
        assert (plain.about.purpose, plain.about.legal_basis) == ("to find leaks", "a law")
        assert (plain.about.subjects, plain.about.templates, plain.about.refused_left_out) == (7, 12, 1)


def test_who_reads_it_needs_its_key(gallery: Gallery, keys: Keys, tmp_path: Path) -> None:
    export_templates(gallery, tmp_path / "a.npz", "npz", secret=keys.secret("a", new=True))
    generate(tmp_path / "other")
    with pytest.raises(WrongKey):
        import_templates(gallery, tmp_path / "a.npz", keys=Keys(tmp_path / "other"))
    with pytest.raises(UsageError, match="no key was given"):
        import_templates(gallery, tmp_path / "a.npz")
    data = bytearray((tmp_path / "a.npz").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "a.npz").write_bytes(data)
    with pytest.raises(IntegrityError):
        import_templates(gallery, tmp_path / "a.npz", keys=keys)


def test_an_index_is_not_sealed(gallery: Gallery, keys: Keys, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--unsealed"):
        export_templates(gallery, tmp_path / "a", "faiss", secret=keys.secret("a", new=True))
    assert not (tmp_path / "a").exists()


def test_numpy_and_arrow_read_it_alone(gallery: Gallery, tmp_path: Path) -> None:
    export_templates(gallery, tmp_path / "a.npz", "npz")
    export_templates(gallery, tmp_path / "a.parquet", "parquet")
    table = pq.read_table(tmp_path / "a.parquet")
    with np.load(tmp_path / "a.npz", allow_pickle=False) as found:
        about = json.loads(found["gallery.json"])
        assert about == json.loads(table.schema.metadata[b"gallery.json"])
        assert about["others"] == [{"subject_id": "nobody", "name": "Nora", "expires": "2032-02-29"}]
        assert found["expires"].tolist() == ["2031-01-31"] * 2 + [""] * 10 == table["expires"].to_pylist()
        kind = next(kind for kind in about["hashes"] if kind["scope"] == "face")
        bits, quality = found[kind["column"] + "_bits"], found[kind["column"] + "_quality"]
        assert (kind["algorithm"], bits[11].tolist(), quality[11]) == ("phash64/test", [7] * 8, 1)
        assert np.isnan(quality[:11]).all()
        assert table[kind["column"] + "_bits"].to_pylist() == [None] * 11 + [bytes([7]) * 8]


def test_of_two_days_the_earlier_holds(gallery: Gallery, tmp_path: Path) -> None:
    export_templates(gallery, tmp_path / "a.npz", "npz")
    gallery.people.expire({"p0000": "2030-01-01", "p0001": "2030-01-01", "nobody": ""})
    gallery.people.rename("p0000", name="Anne")
    with open_templates(tmp_path / "a.npz") as file:
        rows = list(file.parts())
    assert len(rows) == 3
    gallery.add_table(rows, file.about.hashes, others=file.about.others, names_stay=True)
    days = {s["subject_id"]: s["expires"] for s in gallery.subjects()}
    assert (days["p0000"], days["p0001"], days["nobody"]) == ("2030-01-01", "2030-01-01", "2032-02-29")
    assert gallery.people.names()["p0000"] == "Anne"
    assert gallery.info()["templates"] == 12


def test_hashes_of_another_version(gallery: Gallery, tmp_path: Path) -> None:
    export_templates(gallery, tmp_path / "a.npz", "npz")
    with Gallery.create(tmp_path / "b.gallery", "test", pack().model_id, 128) as second:
        old = HashBatch("phash64/old", np.zeros((1, 8), np.uint8), np.ones(1, np.float32), np.zeros(1, np.int32))
        vector = people(np.random.default_rng(5), 1)[0].vector
        second.add([Enrolment(Photo("x", "x", b"\2" * 32, "", "", 0.5), vector, (old,), ())], [], {})
        with pytest.raises(ModelMismatch, match=r"lacks phash64/old \(picture\), and has besides .*phash64/test"):
            import_templates(second, tmp_path / "a.npz")
        assert second.info()["templates"] == 1
        assert import_templates(second, tmp_path / "a.npz", hashes=False).added == 12
        second.verify()


def test_who_was_erased_and_comes_back_is_named(gallery: Gallery, tmp_path: Path) -> None:
    export_templates(gallery, tmp_path / "a.npz", "npz")
    gallery.people.erase({"p0001": None, "p0002": [6]}, "asked for it")
    report = import_templates(gallery, tmp_path / "a.npz")
    assert (report.added, report.erased_before, report.who) == (4, 1, ["p0001"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda about: "[" * 100_000, "gallery.json|maximum recursion"),
        (lambda about: "{}", "not of the format"),
        (lambda about: json.dumps(about | {"format": "leakmatch-gallery/2"}), "not of the format"),
        (lambda about: json.dumps(about | {"subjects": "7"}), "has no subjects"),
        (lambda about: json.dumps(about | {"hashes": about["hashes"] * 2}), "names other columns"),
        (lambda about: json.dumps(about | {"hashes": [about["hashes"][0] | {"bytes": 9}]}), "hash0_bits is uint8"),
        (lambda about: json.dumps(about | {"hashes": [about["hashes"][0] | {"scope": "x"}]}), "has not"),
        (lambda about: json.dumps(about | {"others": [{"subject_id": 1}]}), "has no subject_id"),
    ],
)
def test_a_json_part_that_is_none(gallery: Gallery, tmp_path: Path, change: object, message: str) -> None:
    export_templates(gallery, tmp_path / "a.npz", "npz")
    with np.load(tmp_path / "a.npz") as found:
        arrays = dict(found)
    about = arrays.pop("gallery.json")
    np.savez(tmp_path / "b.npz", **arrays)
    with zipfile.ZipFile(tmp_path / "b.npz", "a") as archive:
        archive.writestr("gallery.json", change(json.loads(about)))  # type: ignore[operator]
    with (
        Gallery.create(tmp_path / "b.gallery", "test", pack().model_id, 128) as second,
        pytest.raises(UsageError, match=message),
    ):
        import_templates(second, tmp_path / "b.npz")


def test_days_that_are_none_are_refused(gallery: Gallery, tmp_path: Path) -> None:
    shots = people(np.random.default_rng(7), 3)
    np.savez(
        tmp_path / "t.npz",
        vectors=np.stack([shot.vector for shot in shots]),
        subject_id=np.array(["x", "y", "z"]),
        expires=np.array(["2030-01-31", "31.1.2030", ""]),
        model_id=np.array(pack().model_id),
    )
    report = import_templates(gallery, tmp_path / "t.npz")
    assert (report.added, list(report.refused)) == (2, [2])
    assert "is no date" in report.refused[2]
    assert next(s for s in gallery.subjects() if s["subject_id"] == "x")["expires"] == "2030-01-31"
