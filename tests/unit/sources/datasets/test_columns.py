"""Parquet and Arrow: every way in which pictures are put into columns, and files that lie."""

from __future__ import annotations

import base64
import io

import datasets
import numpy as np
import pyarrow as pa
import pytest
from archives import PICTURES, picture, walked

from leakmatch.records import Budget, Outcome
from leakmatch.sources.datasets.arrays import picture_file
from leakmatch.sources.opening import Opening
from leakmatch.sources.registry import open_container


def names(walk):
    return [e.locator.name for e in walk.below(1)]


PHOTOS = [data for _, data in PICTURES]


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.binary_view()])
def test_columns_of_bytes(kind):
    walk = walked(datasets.in_parquet(pa.table({"photo": pa.array(PHOTOS, kind)}), row_group_size=2))
    assert walk.pictures == PHOTOS
    assert names(walk) == [f"photo[{n}]" for n in range(5)]


def test_bytes_of_one_size_and_lists_of_numbers():
    table = pa.table({
        "fixed": pa.array([picture(1), picture(2)], pa.binary(303)),
        "numbers": pa.array([list(picture(3)), list(picture(4))], pa.list_(pa.uint8())),
    })  # fmt: skip
    assert walked(datasets.in_parquet(table)).pictures == [picture(n) for n in (1, 2, 3, 4)]


@pytest.mark.parametrize("dtype", ["u1", "f4"])
def test_arrays_in_lists_of_lists(dtype):
    photo = np.random.default_rng(1).integers(0, 256, (20, 30, 3)).astype(dtype)
    rows = pa.list_(pa.list_(pa.list_(pa.from_numpy_dtype(photo.dtype))))
    table = pa.table({"x": pa.array([photo.tolist()] * 2, rows),
                      "feature": pa.array([[0.5] * 512] * 2)})  # fmt: skip
    data = datasets.in_parquet(table)
    opening = Opening("parquet", io.BytesIO(data), len(data), "x")
    found = {member.name: member.open().read() for member in open_container(opening).members()}
    assert found == dict.fromkeys(("x[0]", "x[1]"), picture_file(photo, "HWC").read())


def test_lists_and_structs_inside_each_other():
    kind = pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    rows = [[{"bytes": picture(1), "path": "a.jpg"}, {"bytes": picture(2), "path": None}], None, []]
    other = pa.array([{"face": {"crop": picture(n)}} for n in range(3)])
    walk = walked(datasets.in_parquet(pa.table({"images": pa.array(rows, kind), "x": other})))
    assert names(walk) == ["a.jpg", "images[0][1]", *(f"x[{n}].face.crop" for n in range(3))]
    assert walk.pictures == [picture(n) for n in (1, 2, 0, 1, 2)]


def test_base64_and_data_urls():
    text = base64.b64encode(picture(1)).decode()
    column = pa.array([text, "data:image/jpeg;base64," + text, "plain " * 50, None])
    walk = walked(datasets.in_parquet(pa.table({"photo": column})))
    assert walk.pictures == [picture(1), picture(1)]
    assert names(walk) == ["photo[0]", "photo[1]"]


def test_dictionaries_nulls_and_what_is_no_picture():
    table = pa.table({
        "photo": pa.array([picture(1), None, picture(1)]).dictionary_encode(),
        "key": pa.array([b"abc", b"", b"\0\1"]),
        "label": pa.array([1, 2, 3]),
    })  # fmt: skip
    for data in (datasets.in_parquet(table), arrow(table)):
        walk = walked(data)
        assert walk.pictures == [picture(1), picture(1)]
        assert [e.outcome for e in walk.below(1)][2:] == [Outcome.NOT_IMAGE] * 3


def test_pictures_that_lie_outside_are_told():
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    walk = walked(datasets.in_parquet(pa.table({"image": pa.array([{"bytes": None, "path": "/etc/passwd"}], kind)})))
    assert walk.codes == {"link"}
    assert not walk.below(1)


def arrow(table: pa.Table) -> bytes:
    file = io.BytesIO()
    with pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)
    return file.getvalue()


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_compressed_arrow_and_feather(compression):
    import pyarrow.feather

    file = io.BytesIO()
    table = datasets.hugging_face(PICTURES)
    pyarrow.feather.write_feather(table, file, compression=compression)
    assert walked(file.getvalue()).pictures == PHOTOS


def test_compressed_parquet():
    for codec in ("gzip", "snappy", "zstd", "brotli", "lz4"):
        data = datasets.in_parquet(datasets.hugging_face(PICTURES), compression=codec)
        assert walked(data).pictures == PHOTOS


def test_row_counts_that_lie():
    data = datasets.in_parquet(pa.table({"photo": pa.array([picture(1)] * 1000)}))
    assert len(walked(data).below(1)) == 1000
    many = datasets.in_parquet(pa.table({"photo": pa.array([None] * 300_000, pa.binary())}))
    assert walked(many).root.outcome is Outcome.WALKED
    walk = walked(many, Budget(ratio=10))
    assert walk.root.outcome is Outcome.OVER_BUDGET
    assert not walk.below(1)


def test_damage_in_a_checked_page_costs_one_column_of_one_row_group():
    table = pa.table({"a": PHOTOS, "b": PHOTOS})
    data = bytearray(datasets.in_parquet(table, row_group_size=3, write_page_checksum=True, compression="none"))
    place = bytes(data).find(PHOTOS[1])
    data[place + 50] ^= 0xFF
    walk = walked(bytes(data))
    assert names(walk) == [*(f"b[{n}]" for n in range(3)), "a[3]", "a[4]", "b[3]", "b[4]"]
    assert walk.root.outcome is Outcome.UNREADABLE


def test_an_encrypted_one_needs_its_key():
    assert walked(b"PARE" + bytes(100) + b"PARE").root.outcome is Outcome.NEEDS_PASSWORD


@pytest.mark.parametrize("make", [datasets.parquet, datasets.arrow_file, datasets.arrow_stream])
def test_damage_everywhere(make):
    data = make(PICTURES)
    generator = np.random.default_rng(1)
    for at in [*range(len(data) - 700, len(data), 7), *range(0, len(data), 211)]:
        broken = data[:at] + generator.bytes(3) + data[at + 3 :]
        walk = walked(broken)
        assert walk.entries
