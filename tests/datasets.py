"""What tests of data-set containers share: one made in each format from the same members."""

from __future__ import annotations

import base64
import io
import json
import pickle
import sqlite3
import struct
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import h5py
import lmdb as library
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from archives import Members

from leakmatch.sources.datasets.crc32c import masked_crc

# RecordIO

MAGIC = struct.pack("<I", 0xCED7230A)


def record(data: bytes) -> bytes:
    """One record, in parts where the magic number occurs in it on a boundary of four bytes."""
    parts, start = [], 0
    for at in range(0, len(data) - 3, 4):
        if data[at : at + 4] == MAGIC:
            parts.append(data[start:at])
            start = at + 4
    parts.append(data[start:])
    flags = [0] if len(parts) == 1 else [1, *[2] * (len(parts) - 2), 3]
    return b"".join(
        MAGIC + struct.pack("<I", flag << 29 | len(part)) + part + bytes(-len(part) % 4)
        for flag, part in zip(flags, parts, strict=True)
    )


def image_record(data: bytes, identity: int, label: float | list[float] = 0.0) -> bytes:
    if isinstance(label, list):
        header = struct.pack("<IfQQ", len(label), 0, identity, 0) + np.array(label, "<f4").tobytes()
    else:
        header = struct.pack("<IfQQ", 0, label, identity, 0)
    return record(header + data)


def recordio(members: Members) -> bytes:
    return b"".join(image_record(data, n) for n, (_, data) in enumerate(members))


# TFRecord


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def field(number: int, data: bytes | int) -> bytes:
    if isinstance(data, int):
        return varint(number << 3) + varint(data)
    return varint(number << 3 | 2) + varint(len(data)) + data


def example(features: dict[str, Iterable[bytes] | Iterable[int]]) -> bytes:
    entries = b""
    for key, values in features.items():
        values = list(values)
        if values and isinstance(values[0], int):
            feature = field(3, field(1, b"".join(varint(value) for value in values)))
        else:
            feature = field(1, b"".join(field(1, value) for value in values))
        entries += field(1, field(1, key.encode()) + field(2, feature))
    return field(1, entries)


def framed(record: bytes) -> bytes:
    size = struct.pack("<Q", len(record))
    return size + struct.pack("<I", masked_crc(size)) + record + struct.pack("<I", masked_crc(record))


def tfrecord(members: Members) -> bytes:
    return b"".join(
        framed(example({"image/encoded": [data], "image/filename": [name], "label": [7]})) for name, data in members
    )


# LMDB


def in_lmdb(values: Iterable[tuple[bytes, bytes]], **options: Any) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.mdb"
        with (
            library.open(str(path), subdir=False, map_size=1 << 30, **options) as environment,
            environment.begin(write=True) as transaction,
        ):
            for key, value in values:
                transaction.put(key, value)
        return path.read_bytes()


def lmdb(members: Members) -> bytes:
    return in_lmdb(members)


# SQLite


def in_sqlite(script: str, rows: Iterable[tuple[str, tuple[Any, ...]]] = ()) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.db"
        connection = sqlite3.connect(path)
        connection.executescript(script)
        for statement, values in rows:
            connection.execute(statement, values)
        connection.commit()
        connection.close()
        return path.read_bytes()


def sqlite(members: Members) -> bytes:
    rows = [("INSERT INTO faces VALUES (?, ?)", (name.decode("utf-8", "replace"), data)) for name, data in members]
    return in_sqlite("CREATE TABLE faces (name TEXT, photo BLOB)", rows)


# Parquet and Arrow


def in_parquet(table: pa.Table, **options: Any) -> bytes:
    file = io.BytesIO()
    pq.write_table(table, file, **options)
    return file.getvalue()


def hugging_face(members: Members) -> pa.Table:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = [{"bytes": data, "path": name.decode()} for name, data in members]
    return pa.table({"image": pa.array(rows, kind), "label": pa.array(range(len(rows)), pa.int64())})


def parquet(members: Members) -> bytes:
    return in_parquet(hugging_face(members), row_group_size=2)


def arrow_file(members: Members) -> bytes:
    file = io.BytesIO()
    table = hugging_face(members)
    with pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    return file.getvalue()


def arrow_stream(members: Members) -> bytes:
    file = io.BytesIO()
    table = hugging_face(members)
    with pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    return file.getvalue()


# HDF5


def in_hdf5(fill: Any, **options: Any) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.h5"
        with h5py.File(path, "w", **options) as file:
            fill(file)
        return path.read_bytes()


def hdf5(members: Members) -> bytes:
    def fill(file: Any) -> None:
        photos = file.create_dataset("photos", (len(members),), h5py.vlen_dtype(np.uint8))
        for n, (_, data) in enumerate(members):
            photos[n] = np.frombuffer(data, np.uint8)

    return in_hdf5(fill)


# npy, text, pickle


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def tsv(members: Members) -> bytes:
    return b"".join(b"%b\t1\t%b\n" % (name, base64.b64encode(data)) for name, data in members)


def json_lines(members: Members) -> bytes:
    return b"".join(
        json.dumps({"n": n, "photo": base64.b64encode(data).decode()}).encode() + b"\n"
        for n, (_, data) in enumerate(members)
    )


def pickled(members: Members, protocol: int = 4) -> bytes:
    return pickle.dumps(([data for _, data in members], [True] * len(members)), protocol)


WHOLE = {
    "recordio": recordio,
    "tfrecord": tfrecord,
    "lmdb": lmdb,
    "sqlite": sqlite,
    "parquet": parquet,
    "arrow": arrow_file,
    "arrow stream": arrow_stream,
    "hdf5": hdf5,
    "tsv": tsv,
    "json": json_lines,
    **{f"pickle {n}": lambda members, n=n: pickled(members, n) for n in range(6)},
}
