"""Tables as arrays and frames. The one module of the case that imports pandas, polars and pyarrow (all optional)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import IO, TYPE_CHECKING, Any, Final

import numpy as np

from leakmatch.arrays import Array
from leakmatch.case.columns import Columns, Kind, Record
from leakmatch.errors import MissingExtra

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow

# Rows in a row group of a Parquet file; what is held in memory while one is written.
_GROUP: Final = 20_000

_SHAPES: Final = {Kind.BOX: (4,), Kind.POINTS: (5, 2)}


class Table:
    """Rows of a case in memory: iterate for dicts, index by column name for an array, or turn into a frame.

    >>> table = Table({"path": Kind.TEXT, "score": Kind.REAL}, [{"path": "a.jpg", "score": 0.5}])
    >>> table["score"]
    array([0.5])
    """

    def __init__(self, columns: Columns, rows: Iterable[Record]) -> None:
        self.columns = dict(columns)
        self._rows = list(rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Record]:
        return iter(self._rows)

    def __repr__(self) -> str:
        return f"<Table of {len(self)} rows: {', '.join(self.columns)}>"

    def __getitem__(self, column: str) -> Array:
        """One column, of length N (0 where there are no rows).

        Real numbers float64 with NaN for null, whole numbers int64 with -1 for null, boxes float64[N,4] and
        landmarks float64[N,5,2] with NaN for null, flags bool; text and nested values as objects.
        Raises ``KeyError`` for an unknown column.
        """
        kind = self.columns[column]
        values = [row[column] for row in self._rows]
        if kind is Kind.WHOLE:
            return np.array([-1 if value is None else value for value in values], dtype=np.int64)
        if kind is Kind.REAL:
            return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
        if kind is Kind.FLAG:
            return np.array([bool(value) for value in values], dtype=np.bool_)
        if kind in _SHAPES:
            array = np.full((len(values), *_SHAPES[kind]), np.nan)
            for i, value in enumerate(values):
                if value is not None:
                    array[i] = value
            return array
        objects = np.empty(len(values), dtype=object)
        objects[:] = values
        return objects

    def to_dicts(self) -> list[Record]:
        """The rows as a list of dicts, as ``leakmatch export`` writes them."""
        return [dict(row) for row in self._rows]

    def to_pandas(self) -> pandas.DataFrame:
        """A pandas frame with nullable types. Raises :class:`MissingExtra` where pandas is not installed."""
        try:
            import pandas as pd
        except ImportError as error:
            raise MissingExtra("A pandas frame", "pandas") from error
        dtypes = {Kind.WHOLE: "Int64", Kind.REAL: "Float64", Kind.FLAG: "boolean", Kind.TEXT: "string"}
        return pd.DataFrame(
            {
                name: pd.Series([row[name] for row in self._rows], dtype=dtypes.get(kind, "object"))
                for name, kind in self.columns.items()
            }
        )

    def to_polars(self) -> polars.DataFrame:
        """A polars frame; nested values as JSON text. Raises :class:`MissingExtra` where polars is not installed."""
        try:
            import polars as pl
        except ImportError as error:
            raise MissingExtra("A polars frame", "polars") from error
        types: dict[Kind, Any] = {
            Kind.WHOLE: pl.Int64,
            Kind.REAL: pl.Float64,
            Kind.FLAG: pl.Boolean,
            Kind.BOX: pl.List(pl.Float64),
            Kind.POINTS: pl.List(pl.List(pl.Float64)),
        }
        schema = {name: types.get(kind, pl.String) for name, kind in self.columns.items()}
        return pl.DataFrame([flattened(row, self.columns) for row in self._rows], schema=schema, orient="row")

    def to_arrow(self) -> pyarrow.Table:
        """An Arrow table; nested values as JSON text. Raises :class:`MissingExtra` where pyarrow is not installed."""
        pa = _pyarrow("An Arrow table")
        return pa.Table.from_pylist([flattened(row, self.columns) for row in self._rows], _schema(pa, self.columns))


def write_parquet(rows: Iterable[Record], columns: Columns, stream: IO[bytes]) -> None:
    """Write rows as Parquet, one row group at a time. Nested values are JSON text."""
    pa = _pyarrow("Parquet")
    import pyarrow.parquet

    schema = _schema(pa, columns)
    remaining = iter(rows)
    with pyarrow.parquet.ParquetWriter(stream, schema, compression="zstd") as writer:
        while group := [flattened(row, columns) for row in islice(remaining, _GROUP)]:
            writer.write_table(pa.Table.from_pylist(group, schema))


def flattened(row: Record, columns: Columns) -> Record:
    """The row with nested values (but not boxes and landmarks) as JSON text."""
    return {
        name: json.dumps(row[name]) if kind is Kind.NESTED and row[name] is not None else row[name]
        for name, kind in columns.items()
    }


def _pyarrow(what: str) -> Any:
    try:
        import pyarrow as pa
    except ImportError as error:
        raise MissingExtra(what, "parquet") from error
    return pa


def _schema(pa: Any, columns: Columns) -> Any:
    types = {
        Kind.WHOLE: pa.int64(),
        Kind.REAL: pa.float64(),
        Kind.FLAG: pa.bool_(),
        Kind.BOX: pa.list_(pa.float64()),
        Kind.POINTS: pa.list_(pa.list_(pa.float64())),
    }
    return pa.schema([(name, types.get(kind, pa.string())) for name, kind in columns.items()])
