"""Tables on disk: names stay text, what measures is a number, what cannot be told is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from otoscope import tables
from otoscope.errors import InputError
from otoscope.tables import read_tab_separated, read_table, seconds


def write(path, content: str, encoding: str = "utf-8"):
    path.write_bytes(content.encode(encoding))
    return path


@pytest.mark.parametrize(
    ("cells", "found"),
    [
        (["007", "7"], ["007", "7"]),
        (["1e3", "1000"], ["1e3", "1000"]),
        (["1.0", "1"], ["1.0", "1"]),
        (["12345678901234567890", "12345678901234567891"], ["12345678901234567890", "12345678901234567891"]),
        (["null", "None", "NA", "nan"], ["null", "None", "NA", "nan"]),
        (["3", "NA"], ["3", "NA"]),
        (["True", "False"], ["True", "False"]),
        (["3", "12", "-4"], [3, 12, -4]),
        (["1.50", "1.5", "2"], [1.5, 1.5, 2.0]),
        (["1e-3", "2"], [0.001, 2.0]),
    ],
)
def test_a_column_is_of_numbers_only_where_nothing_is_lost(tmp_path, cells, found):
    rows = "".join(f"c{i},{cell}\n" for i, cell in enumerate(cells))
    assert read_table(write(tmp_path / "t.csv", f"clip_id,x\n{rows}")).x.tolist() == found


def test_columns_that_name_things_stay_text(tmp_path):
    table = read_table(write(tmp_path / "t.csv", "clip_id,group,speaker,age\n1,2,3,4\n"), text=["speaker"])
    assert table.iloc[0].tolist() == ["1", "2", "3", 4]
    assert read_table(tmp_path / "t.csv", text="all").age.tolist() == ["4"]


def test_an_empty_cell_is_missing_and_a_word_is_only_where_things_are_measured(tmp_path):
    file = write(tmp_path / "t.csv", "clip_id,label,f0\na,null,1\nb,,NA\nc,x,nan\n")
    assert read_table(file).label.tolist() == ["null", None, "x"]
    assert read_table(file).f0.tolist() == ["1", "NA", "nan"]
    np.testing.assert_array_equal(read_table(file, measured=True).f0, [1, np.nan, np.nan])


@pytest.mark.parametrize(
    ("name", "content", "encoding"),
    [
        ("t.csv", "file_name,word\nä.wav,yes\n", "utf-8"),
        ("t.csv", "file_name,word\nä.wav,yes\n", "utf-8-sig"),
        ("t.csv", "file_name;word\nä.wav;yes\n", "utf-8"),
        ("t.csv", "file_name\tword\nä.wav\tyes\n", "utf-16"),
        ("t.tsv", "file_name\tword\nä.wav\tyes\n", "utf-8"),
        ("t.jsonl", '{"file_name": "ä.wav", "word": "yes"}\n', "utf-8"),
    ],
)
def test_forms_of_one_table(tmp_path, name, content, encoding):
    table = read_table(write(tmp_path / name, content, encoding))
    assert table.to_dict("records") == [{"file_name": "ä.wav", "word": "yes"}]


def test_json_says_itself_what_is_a_number(tmp_path):
    content = (
        '{"id": "7", "n": 7, "s": 007.5}\n'.replace("007.5", "7.5")
        + '{"id": "8", "n": 8, "tags": ["a", "b"]}\n'
    )
    table = read_table(write(tmp_path / "t.jsonl", content))
    assert table.id.tolist() == ["7", "8"]
    assert table.n.tolist() == [7, 8]
    assert table.tags.tolist() == [None, "a;b"]


def test_numbers_that_datasets_writes_for_classes_are_their_names(tmp_path):
    import json

    import pyarrow as pa
    import pyarrow.parquet as pq

    features = {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}
    about = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    table = pa.table({"label": [1, 0, 1], "group": [7, 8, 8]}).replace_schema_metadata(about)
    pq.write_table(table, tmp_path / "t.parquet")
    found = read_table(tmp_path / "t.parquet")
    assert found.label.tolist() == ["dog", "cat", "dog"]
    assert found.group.tolist() == ["7", "8", "8"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", "a,b\n1,2,3\n", "row 1 has 3 cells, and there are 2 columns"),
        ("t.csv", 'a,b\n1,"2\n3,4\n', "unexpected end of data"),
        ("t.csv", "a,a\n1,2\n", "two columns are called 'a'"),
        ("t.jsonl", "[1]\n", "line 1 holds no object"),
        ("t.jsonl", '{"a": {"b": 1}}\n', "a, line 1 is an object"),
        ("t.jsonl", '{"a": \n', "cannot be read as a table"),
    ],
)
def test_what_would_be_read_wrong_is_refused(tmp_path, name, content, message):
    with pytest.raises(InputError, match=message):
        read_table(write(tmp_path / name, content))


def test_tab_separated_text_has_no_quoting(tmp_path):
    cells = read_tab_separated(write(tmp_path / "t.txt", 'a\tb\n1\tsaid "hm\n2\t"x" y\n3\t"\n'), like=["a"])
    assert cells == {"a": ["1", "2", "3"], "b": ['said "hm', '"x" y', '"']}
    assert read_tab_separated(tmp_path / "t.txt", like=["c"]) is None
    (tmp_path / "t.txt").write_bytes("a\tb\n1\tGrünling\n".encode("cp1252"))
    with pytest.raises(InputError, match="neither UTF-8 nor UTF-16"):
        read_tab_separated(tmp_path / "t.txt", like=["a"])


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("61.5", 61.5),
        ("1:01.5", 61.5),
        ("0:01", 1),
        ("1:00:01", 3601),
        ("1,5", 1.5),
        ("0,125", 0.125),
        ("", np.nan),
    ],
)
def test_times_as_people_write_them(text, found):
    np.testing.assert_equal(seconds(pd.Series([text], dtype=object), of="t")[0], found)


@pytest.mark.parametrize("text", ["1,500", "0:75", "soon", "1:2:3:4", "1:60:00"])
def test_times_that_are_not_certain_are_refused_with_their_row(text):
    with pytest.raises(InputError, match=r"'start_s' is .* in row 2"):
        seconds(pd.Series(["1", text], dtype=object), of="'start_s'")


@pytest.mark.parametrize("damage", ["gone", "empty", "half", "text", "a bit of a number"])
def test_a_table_of_ours_that_was_damaged_is_refused(tmp_path, damage):
    file = tmp_path / "latents.parquet"
    content = tables.parquet_bytes(pd.DataFrame({"latent": range(1000), "max": np.linspace(0, 1, 1000)}))
    changed = bytearray(content)
    changed[2000] ^= 1
    file.write_bytes(content)
    assert tables.read_parquet(file)["max"].iloc[-1] == 1
    damaged = {"gone": None, "empty": b"", "half": content[: len(content) // 2], "text": b"hello\\n"}
    found = damaged.get(damage, bytes(changed))
    file.unlink() if found is None else file.write_bytes(found)
    with pytest.raises(InputError, match=r"latents\.parquet.*make it again"):
        tables.read_parquet(file)
