"""Templates from and for other tools: what goes out comes in, wrong rows are told, nothing is added twice."""

from __future__ import annotations

import csv
import stat
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from leakmatch.errors import ModelMismatch, UsageError
from leakmatch.gallery import template_files, templates
from leakmatch.gallery.store import Gallery, Photo
from leakmatch.gallery.transfer import export_templates, import_templates
from leakmatch.matching.join import TemplateIndex, naive_join

MODEL = "sha256:00/fp32/test"


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of a few rows have several parts."""

    for module in (template_files, templates):
        monkeypatch.setattr(module, "PART", 4)


def vectors(count: int, seed: int = 0) -> np.ndarray:
    found = np.random.default_rng(seed).normal(size=(count, 16)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    return Gallery.create(tmp_path / "a.gallery", "test", MODEL, 16)


def npz(path: Path, count: int = 10, **columns: object) -> Path:
    ids = [f"s{i % 7}" for i in range(count)]
    content = {"vectors": vectors(count), "subject_id": np.array(ids), "model_id": np.array(MODEL)} | columns
    np.savez(path, **{name: value for name, value in content.items() if value is not None})
    return path


@pytest.mark.parametrize("column", ["subject_id", "name", "path"])
def test_a_row_that_is_no_text_is_refused(gallery: Gallery, tmp_path: Path, column: str) -> None:
    values = np.array([f"s{i}" for i in range(10)])
    values[3] = "s\ud800"
    file = tmp_path / "t.npz"
    ids = np.array([f"s{i}" for i in range(10)])
    np.savez(file, **{"vectors": vectors(10), "subject_id": ids, "model_id": np.array(MODEL), column: values})
    report = import_templates(gallery, file)
    assert (report.added, report.refusals) == (9, 1)
    assert "no Unicode text" in report.refused[4]
    gallery.verify()


def test_what_is_imported_is_there(gallery: Gallery, tmp_path: Path) -> None:
    digests = np.random.default_rng(1).integers(0, 256, (10, 32), np.uint8)
    file = npz(tmp_path / "t.npz", name=np.array(["Ann"] * 10), sha256=digests, quality=np.full(10, 0.5, np.float32))
    seen: list[tuple[int, int]] = []
    report = import_templates(gallery, file, progress=lambda done, total: seen.append((done, total)))
    assert (report.rows, report.added, report.known, report.refusals) == (10, 10, 0, 0)
    assert seen == [(0, 10), (4, 10), (8, 10)]
    gallery.verify()
    np.testing.assert_array_equal(gallery.templates()[:], vectors(10))
    assert gallery.info()["subjects"] == 7
    assert gallery.people.names()["s3"] == "Ann"
    assert gallery.enrolled_as(digests[9].tobytes()) == [10]
    assert gallery.photos("s2")[0]["path"] == "t.npz#3"


def test_the_same_file_again_adds_nothing(gallery: Gallery, tmp_path: Path) -> None:
    file = npz(tmp_path / "t.npz")
    import_templates(gallery, file)
    before = gallery.digest
    again = import_templates(gallery, file)
    assert (again.added, again.known) == (0, 10)
    assert gallery.digest == before


def test_a_photo_that_a_subject_has_is_not_added_again(gallery: Gallery, tmp_path: Path) -> None:
    digests = np.zeros((10, 32), np.uint8)
    digests[:, 0] = [1, 2, 3, 4, 5, 6, 7, 1, 2, 0]  # rows 1 and 8, 2 and 9 are of one subject; 10 has no digest
    gallery.add([], [Photo("s2", "x", digests[2].tobytes(), "no-face", "", 0.0)], {})
    report = import_templates(gallery, npz(tmp_path / "t.npz", sha256=digests))
    assert (report.added, report.known) == (8, 2)
    more = import_templates(gallery, npz(tmp_path / "u.npz", sha256=digests, vectors=vectors(10, 1)))
    assert (more.added, more.known) == (1, 9)
    assert gallery.info()["photos_refused"] == 0
    gallery.verify()


def test_wrong_rows_are_counted_and_the_rest_is_taken(gallery: Gallery, tmp_path: Path) -> None:
    wrong = vectors(40)
    wrong[1], wrong[5, 3], wrong[30:] = 0, np.nan, wrong[30:] * 7
    ids = [""] * 3 + ["a"] * 37
    report = import_templates(gallery, npz(tmp_path / "t.npz", 40, vectors=wrong, subject_id=np.array(ids)))
    assert (report.added, report.refusals) == (26, 14)
    assert report.refused[1] == "it names no subject"
    assert report.refused[2] == "the norm of its vector is 0, not 1"
    assert "nan" in report.refused[6]
    assert report.refused[31] == "the norm of its vector is 7, not 1"
    gallery.verify()


def test_another_model_is_refused(gallery: Gallery, tmp_path: Path) -> None:
    with pytest.raises(ModelMismatch, match="made with the model other"):
        import_templates(gallery, npz(tmp_path / "a.npz", model_id=np.array("other")))
    with pytest.raises(ModelMismatch, match="have 8 numbers"):
        import_templates(gallery, npz(tmp_path / "b.npz", vectors=vectors(10)[:, :8].copy()))
    silent = npz(tmp_path / "c.npz", model_id=None)
    with pytest.raises(UsageError, match="--trust-model"):
        import_templates(gallery, silent)
    assert gallery.info()["templates"] == 0
    assert import_templates(gallery, silent, trust_model=True).added == 10


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"vectors": None}, "no array 'vectors'"),
        ({"vectors": np.zeros(10, np.float32)}, "not a matrix"),
        ({"vectors": np.zeros((10, 16), np.int8)}, "not a matrix"),
        ({"vectors": np.asfortranarray(vectors(10))}, "stored by columns"),
        ({"subject_id": None}, "no array 'subject_id'"),
        ({"subject_id": np.array(["a"] * 9)}, "subject_id has 9 rows, vectors 10"),
        ({"subject_id": np.arange(10)}, "subject_id is int64"),
        ({"subject_id": np.array(["a"] * 10, object)}, "Python objects"),
        ({"sha256": np.zeros((10, 20), np.uint8)}, "sha256 is uint8"),
        ({"quality": np.array(["a"] * 10)}, "quality is <U1"),
    ],
)
def test_what_is_no_template_file_is_told(
    gallery: Gallery, tmp_path: Path, columns: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        import_templates(gallery, npz(tmp_path / "t.npz", **columns))
    assert gallery.info()["templates"] == 0


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04nonsense", b"PAR1nonsense", b"\x93NUMPY", b"SQLite format 3\0"])
def test_other_files_are_refused(gallery: Gallery, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t").write_bytes(content)
    with pytest.raises(UsageError, match=r"t: not an? "):
        import_templates(gallery, tmp_path / "t")


def test_a_damaged_file_adds_nothing(gallery: Gallery, tmp_path: Path) -> None:
    file = npz(tmp_path / "t.npz")
    data = bytearray(file.read_bytes())
    at = data.index(vectors(10)[8].tobytes())
    data[at : at + 4] = b"\0\0\0\0"
    file.write_bytes(bytes(data))
    with pytest.raises(UsageError, match="vectors: Bad CRC"):
        import_templates(gallery, file)
    assert gallery.info()["templates"] == gallery.info()["subjects"] == 0
    gallery.verify()


def table(count: int, **columns: object) -> pa.Table:
    content = {"subject_id": [f"s{i}" for i in range(count)], "vectors": list(vectors(count))} | columns
    return pa.table(content).replace_schema_metadata({"model_id": MODEL})


def test_parquet_with_lists_of_any_kind(gallery: Gallery, tmp_path: Path) -> None:
    pq.write_table(table(6, quality=[0.5] * 5 + [None], sha256=["ab" * 32] + [None] * 5), tmp_path / "t.parquet")
    assert import_templates(gallery, tmp_path / "t.parquet").added == 6
    np.testing.assert_array_equal(gallery.templates()[:], vectors(6))
    assert gallery.enrolled_as(b"\xab" * 32) == [1]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"vectors": [[1.0] * 16] * 5 + [[1.0] * 15]}, "lists of 16 numbers"),
        ({"vectors": [[1.0] * 16] * 5 + [None]}, "lists of 16 numbers"),
        ({"vectors": [[1.0] * 16] * 2 + [[1.0] * 15, [1.0] * 17] + [[1.0] * 16] * 2}, "lists of 16 numbers"),
        ({"sha256": ["xyz"] + [None] * 5}, "non-hexadecimal"),
        ({"vectors": ["text"] * 6}, "vectors"),
    ],
)
def test_parquet_with_wrong_columns(gallery: Gallery, tmp_path: Path, columns: dict[str, object], message: str) -> None:
    pq.write_table(table(6, **columns), tmp_path / "t.parquet")
    with pytest.raises((UsageError, ModelMismatch), match=message):
        import_templates(gallery, tmp_path / "t.parquet")
    assert gallery.info()["templates"] == 0


@pytest.mark.parametrize("format", ["npz", "parquet"])
@pytest.mark.parametrize("count", [0, 1, 10])
def test_what_goes_out_comes_in(gallery: Gallery, tmp_path: Path, format: str, count: int) -> None:
    digests = np.zeros((count, 32), np.uint8)
    digests[::2] = np.arange(count, dtype=np.uint8)[::2, None] + 1
    names = np.array(["Änne", "", "x" * 30] * 4)[:count].astype("<U30")
    ids = np.array([f"s{i % 7}" for i in range(count)], "<U3")
    import_templates(gallery, npz(tmp_path / "t.npz", count, sha256=digests, name=names, subject_id=ids))
    out = tmp_path / "out"
    assert export_templates(gallery, out, format) == count
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    with Gallery.create(tmp_path / "b.gallery", "test", MODEL, 16) as second:
        assert import_templates(second, out).added == count
        second.verify()
        np.testing.assert_array_equal(second.templates()[:], gallery.templates()[:])
        assert second.people.names() == gallery.people.names()
        assert list(second.subjects()) == list(gallery.subjects())
        assert [second.photos(s["subject_id"]) for s in second.subjects()] == [
            [photo | {"detail": "imported"} for photo in gallery.photos(s["subject_id"])] for s in gallery.subjects()
        ]


def test_an_npz_is_read_by_numpy_alone(gallery: Gallery, tmp_path: Path) -> None:
    import_templates(gallery, npz(tmp_path / "t.npz"))
    export_templates(gallery, tmp_path / "out.npz", "npz")
    with np.load(tmp_path / "out.npz", allow_pickle=False) as found:
        np.testing.assert_array_equal(found["vectors"], vectors(10))
        assert found["subject_id"].tolist() == [f"s{i % 7}" for i in range(10)]
        assert str(found["model_id"]) == MODEL


def test_faiss_finds_what_the_join_finds(gallery: Gallery, tmp_path: Path) -> None:
    import_templates(gallery, npz(tmp_path / "t.npz", 30))
    gallery.remove("s1")
    export_templates(gallery, tmp_path / "out.faiss", "faiss")
    index = faiss.read_index(str(tmp_path / "out.faiss"))
    stored = gallery.templates()
    probes = vectors(5, 3)
    limits, _, ids = index.range_search(probes, 0.2)
    found = {(p, int(ids[k])) for p in range(5) for k in range(int(limits[p]), int(limits[p + 1]))}
    wanted = naive_join(probes, stored[:], stored.enrolment_id, 0.2)
    assert found == {(p, enrolment) for p, enrolment, _ in wanted}
    assert len(found) > 5
    assert found == {
        (int(p), int(e))
        for p, e in zip(
            *(lambda c: (c.probe_index, c.enrolment_id))(TemplateIndex(stored, stored.enrolment_id).join(probes, 0.2)),
            strict=True,
        )
    }
    rows = list(csv.DictReader((tmp_path / "out.faiss.csv").open(encoding="utf-8")))
    assert [row["subject_id"] for row in rows] == [gallery.subject_of(int(i)) for i in stored.enrolment_id]


def test_unknown_formats_and_other_peoples_files(gallery: Gallery, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="faiss, npz, parquet"):
        export_templates(gallery, tmp_path / "x", "hdf5")
    with pytest.raises(UsageError, match="not overwritten"):
        export_templates(gallery, gallery.path, "npz")
