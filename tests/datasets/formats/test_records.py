"""Files of rows: every format is read, and what is not whole is refused with its location."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from experiments.common.smoke_data import write_jsonl
from lore_jax.datasets.formats.records import (
    data_files,
    read_csv,
    read_records,
    require_columns,
    require_text,
)


def write(path, rows):
    write_jsonl(path, rows)
    return path


ROW = {"post": "A post.", "summaries": [{"text": "One."}, {"text": "Two."}], "choice": 1}


def test_an_error_page_is_told_apart_from_data(tmp_path):
    for name in ("batch.json", "data.csv", "rows.parquet"):
        (tmp_path / name).write_text("<!DOCTYPE html><html>429</html>")
        with pytest.raises(
            ValueError, match="is HTML or XML, not JSONL: was an error page downloaded"
        ):
            list(read_records(tmp_path / name))


def test_truncated_downloads_are_noticed(tmp_path):
    rows = [ROW, ROW]
    whole = write(tmp_path / "rows.jsonl", rows).read_bytes()
    (tmp_path / "cut.jsonl").write_bytes(whole[:-40])
    with pytest.raises(ValueError, match=r"cut\.jsonl line 2: not a whole JSON object"):
        list(read_records(tmp_path / "cut.jsonl"))
    table = pa.Table.from_pylist(rows)
    pq.write_table(table, tmp_path / "rows.parquet")
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "rows.parquet").read_bytes()[:-40])
    with pytest.raises(ValueError, match=r"cut\.parquet is not a whole Parquet file"):
        list(read_records(tmp_path / "cut.parquet"))
    with pa.ipc.new_stream(tmp_path / "rows.arrow", table.schema) as stream:
        stream.write_table(table)
    (tmp_path / "cut.arrow").write_bytes((tmp_path / "rows.arrow").read_bytes()[:-200])
    with pytest.raises(ValueError, match=r"cut\.arrow is not a whole Arrow file"):
        list(read_records(tmp_path / "cut.arrow"))
    (tmp_path / "cut.csv").write_text('a,b\n1,2\n3,"4')
    with pytest.raises(ValueError, match=r"cut\.csv line 3: unexpected end of data"):
        list(read_records(tmp_path / "cut.csv"))
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(ValueError, match=r"empty\.jsonl is empty"):
        list(read_records(tmp_path / "empty.jsonl"))


def test_a_data_set_in_two_formats_is_read_once(tmp_path):
    write(tmp_path / "data" / "train.jsonl", [ROW])
    for part in (0, 1):
        (tmp_path / "data" / f"train-{part}.parquet").touch()
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "train.parquet").touch()
    assert [path.name for path in data_files(tmp_path, "train")] == [
        "train-0.parquet",
        "train-1.parquet",
    ]
    with pytest.raises(
        FileNotFoundError, match=r"holds no .* file with 'test' in its path; found data/train"
    ):
        data_files(tmp_path, "test")


def test_rows_keep_their_json(tmp_path):
    assert list(read_records(write(tmp_path / "x.jsonl", [{"a": 1}, {"a": None}]))) == [
        (f"{tmp_path / 'x.jsonl'} line 1", {"a": 1}),
        (f"{tmp_path / 'x.jsonl'} line 2", {"a": None}),
    ]


def test_columns_and_texts_are_required():
    require_columns("line 3", {"a": 1, "b": None}, ("a", "b"))
    with pytest.raises(
        ValueError, match=r"^line 3: 'b', 'c' missing: the columns 'a', 'b', 'c' are "
    ):
        require_columns("line 3", {"a": 1}, ("a", "b", "c"))
    assert require_text("line 3", "a", " x ") == "x"
    assert require_text("line 3", "a", " ", empty=True) == ""
    with pytest.raises(ValueError, match=r"^line 3: a is empty: a text is expected$"):
        require_text("line 3", "a", " ")
    with pytest.raises(ValueError, match=r"^line 3: a is an integer: a text is expected$"):
        require_text("line 3", "a", 5)


def test_a_csv_file_has_the_columns_that_are_asked_for(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text('\ufeffa,b\n1,"two\nlines"\n', encoding="utf-8")
    assert list(read_csv(path, ("b",))) == [(f"{path} line 3", {"a": "1", "b": "two\nlines"})]
    with pytest.raises(ValueError, match=r"x\.csv: column 'c' is missing; found 'a', 'b'$"):
        list(read_csv(path, ("a", "c")))
    path.write_text("a,b\n1\n")
    with pytest.raises(ValueError, match=r"x\.csv line 2: 1 fields, the header has 2$"):
        list(read_csv(path))
