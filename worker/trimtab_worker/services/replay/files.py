"""From the file to texts: every value is read as text first, so that no piece guesses other types than the next."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from trimtab.errors import InvalidInput, require


def frames(path: Path, columns: list[str], size: int) -> Iterator[pd.DataFrame]:
    """The file in pieces of `size` rows, the named columns only, each value as text or missing."""
    try:
        yield from _parquet(path, columns, size) if path.suffix in (".parquet", ".pq") else _csv(path, columns, size)
    except (pd.errors.ParserError, pd.errors.ParserWarning, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        text = str(error).strip().splitlines()[0].rstrip(".")
        raise InvalidInput(f"{path} is not a readable CSV file: {text}.") from error


def _csv(path: Path, columns: list[str], size: int) -> Iterator[pd.DataFrame]:
    separator = "\t" if ".tsv" in path.suffixes else ","
    _check_columns(path, columns, list(pd.read_csv(path, sep=separator, nrows=0).columns))
    # All columns are read and index_col is False: with usecols, or without the latter, a row with a field too many
    # shifts or loses columns without a word.
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        with pd.read_csv(path, sep=separator, dtype=str, chunksize=size, index_col=False) as pieces:
            for piece in pieces:
                yield piece[columns]


def _parquet(path: Path, columns: list[str], size: int) -> Iterator[pd.DataFrame]:
    parquet = require("pyarrow.parquet", extra="analysis")
    arrow = require("pyarrow", extra="analysis")
    try:
        file = parquet.ParquetFile(path)
    except (arrow.ArrowInvalid, OSError) as error:
        raise InvalidInput(f"{path} is not a readable Parquet file: {str(error).splitlines()[0]}.") from error
    with file:
        _check_columns(path, columns, file.schema_arrow.names)
        # Batches of Parquet end at row groups; ours must depend on row numbers alone.
        rest: pd.DataFrame | None = None
        for piece in file.iter_batches(batch_size=size, columns=columns):
            texts = {name: _as_text(arrow, piece.column(name)) for name in columns}
            frame = pd.DataFrame(texts)
            rest = frame if rest is None else pd.concat([rest, frame], ignore_index=True)
            while len(rest) >= size:
                yield rest.iloc[:size]
                rest = rest.iloc[size:].reset_index(drop=True)
        if rest is not None and len(rest):
            yield rest


def _as_text(arrow: Any, column: Any) -> Any:
    """A Parquet column as text; NaN counts as missing, as it does in CSV, and instants are RFC 3339."""
    if arrow.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    values = column.to_pylist()
    return [None if value is None or value != value else _text(value) for value in values]


def _text(value: Any) -> str:
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _check_columns(path: Path, wanted: list[str], present: list[str]) -> None:
    for name in wanted:
        if name not in present:
            shown = ", ".join(present[:30]) + (" …" if len(present) > 30 else "")
            raise InvalidInput(f"{path} has no column {name!r}; it has {shown}.", field=name)
