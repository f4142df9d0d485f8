"""pre_process.py INFILE OUTDIR"""

import csv
import json
from pathlib import Path

import pandas as pd
import pytest
from sklearn.datasets import load_iris

FEATURES = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
SPECIES = ["Iris-setosa", "Iris-versicolor", "Iris-virginica"]
GOOD = "5.1,3.5,1.4,0.2,Iris-setosa\n7.0,3.2,4.7,1.4,Iris-versicolor\n6.3,3.3,6.0,2.5,Iris-virginica\n"


def test_the_data_is_the_iris_set_that_scikit_learn_carries(iris):
    data = load_iris()
    with iris.open(newline="") as file:
        rows = list(csv.reader(file))
    assert [[float(text) for text in row[:4]] for row in rows] == data.data.tolist()
    assert [row[4] for row in rows] == [f"Iris-{data.target_names[target]}" for target in data.target]


def test_features_are_scaled_to_the_unit_interval_and_in_order(prepared, iris):
    raw = pd.read_csv(iris, header=None, names=[*FEATURES, "species"])
    scaled = pd.read_csv(prepared / "x_train.csv", dtype=str).astype(float)
    assert list(scaled.columns) == FEATURES
    assert scaled.min().tolist() == [0.0] * 4
    assert scaled.max().tolist() == [1.0] * 4
    span = raw[FEATURES].max() - raw[FEATURES].min()
    expected = (raw[FEATURES] - raw[FEATURES].min()) / span
    assert (scaled - expected).abs().max().max() < 1e-15


def test_no_scaled_value_leaves_the_unit_interval_through_rounding(call, tmp_path):
    # Scaled without care, 1.2 in this column becomes 1.0000000000000002.
    rows = [f"{length},3,{length},1,{name}" for length, name in zip((0.1, 0.4, 1.2), SPECIES, strict=True)]
    (tmp_path / "in.csv").write_text("\n".join(rows))
    assert call("pre_process", tmp_path / "in.csv", tmp_path / "out").code == 0
    scaled = pd.read_csv(tmp_path / "out" / "x_train.csv", dtype=str).astype(float)
    assert scaled["sepal_length"].tolist()[2] == 1.0
    assert scaled.max().max() <= 1.0


def test_species_are_one_hot_in_order(prepared, iris):
    labels = pd.read_csv(prepared / "y_train.csv")
    assert list(labels.columns) == SPECIES
    assert set(labels.to_numpy().ravel().tolist()) == {0, 1}
    assert labels.idxmax(axis="columns").tolist() == [line.split(",")[4] for line in iris.read_text().split()]


def test_the_fitted_scaler_says_what_was_fitted(prepared):
    assert json.loads((prepared / "scaler.json").read_text()) == {
        "format": "iris-scaler",
        "version": 1,
        "features": FEATURES,
        "data_min": [4.3, 2.0, 1.0, 0.1],
        "data_max": [7.9, 4.4, 6.9, 2.5],
    }


def test_the_same_input_gives_the_same_bytes(start, prepared, iris, tmp_path):
    assert start("pre_process", iris, tmp_path).code == 0
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["scaler.json", "x_train.csv", "y_train.csv"]
    for name in names:
        assert (tmp_path / name).read_bytes() == (prepared / name).read_bytes()


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("\ufeff" + GOOD, id="byte order mark"),
        pytest.param(GOOD.replace("\n", "\r\n"), id="line ends of Windows"),
        pytest.param(GOOD + "\n\n", id="blank lines at the end, as in the UCI file"),
        pytest.param(GOOD.replace(",", ", "), id="spaces after commas"),
        pytest.param(GOOD.replace("5.1", '"5.1"').replace("7.0", "+70e-1"), id="quotes and exponents"),
    ],
)
def test_other_spellings_of_the_same_rows_give_the_same_bytes(call, tmp_path, text):
    (tmp_path / "plain.csv").write_text(GOOD)
    (tmp_path / "other.csv").write_bytes(text.encode())
    for name in ("plain", "other"):
        assert call("pre_process", tmp_path / f"{name}.csv", tmp_path / name).code == 0
    for path in (tmp_path / "plain").iterdir():
        assert (tmp_path / "other" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("abc,3.2,4.7,1.4,Iris-versicolor", "'abc' is not a number (sepal_length)"),
        ("7.0,nan,4.7,1.4,Iris-versicolor", "'nan' is not a number (sepal_width)"),
        ("7.0,3.2,-inf,1.4,Iris-versicolor", "'-inf' is not a number (petal_length)"),
        ("7.0,3.2,4.7,1_4,Iris-versicolor", "'1_4' is not a number (petal_width)"),
        ("7.0,3.2,4.7,\u0661,Iris-versicolor", "'\\u0661' is not a number (petal_width)"),
        ("7.0,3.2,4.7,1e999,Iris-versicolor", "'1e999' is out of range (petal_width)"),
        ("7.0,3.2,4.7,1\x00,Iris-versicolor", "'1\\x00' is not a number (petal_width)"),
        ("7.0,3.2,4.7,\x1b[31m,Iris-versicolor", "'\\x1b[31m' is not a number (petal_width)"),
        (f"{'9' * 5000}x,3.2,4.7,1.4,Iris-versicolor", f"'{'9' * 40}' is not a number (sepal_length)"),
        (",3.2,4.7,1.4,Iris-versicolor", "sepal_length is missing"),
        ("7.0,3.2,4.7, ,Iris-versicolor", "petal_width is missing"),
        ("7.0,3.2,4.7,1.4,", "species is missing"),
        (
            "7.0,3.2,4.7,1.4,Iris-japonica",
            f"'Iris-japonica' is not a species that is known ({', '.join(SPECIES)})",
        ),
        ("7.0,3.2,4.7,Iris-versicolor", "has 4 columns instead of 5"),
        ("7.0,3.2,4.7,1.4,Iris-versicolor,1", "has 6 columns instead of 5"),
        ("", "has 0 columns instead of 5"),
        ('7.0,3.2,4.7,1.4,"Iris-versicolor"x', "',' expected after '\"'"),
        (f"{'9' * 200_000},3.2,4.7,1.4,Iris-versicolor", "field larger than field limit (131072)"),
    ],
    ids=lambda value: value[:30],
)
def test_a_wrong_row_is_named_with_its_file_and_reason(refusal, tmp_path, row, reason):
    rows = GOOD.splitlines()
    rows[1] = row
    infile = tmp_path / "in.csv"
    infile.write_text("\n".join(rows), newline="")
    assert refusal("pre_process", infile, tmp_path / "out") == f"{infile}: row 2: {reason}"
    assert not (tmp_path / "out").exists()


def test_a_byte_that_is_not_utf_8_is_named_with_its_row(refusal, tmp_path):
    infile = tmp_path / "in.csv"
    infile.write_bytes(GOOD.encode().replace(b"3.3", b"3\xff3"))
    expected = f"{infile}: row 3: '3\\udcff3' is not a number (sepal_width)"
    assert refusal("pre_process", infile, tmp_path / "out") == expected


def test_the_numbers_of_rows_are_those_of_lines(refusal, tmp_path, iris):
    lines = iris.read_text().splitlines()
    lines[16] = lines[16].replace("5.4", "abc")
    infile = tmp_path / "in.csv"
    infile.write_text("\n".join(lines))
    expected = f"{infile}: row 17: 'abc' is not a number (sepal_length)"
    assert refusal("pre_process", infile, tmp_path / "out") == expected


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_a_file_without_rows_is_refused(refusal, tmp_path, content):
    infile = tmp_path / "in.csv"
    infile.write_text(content)
    assert refusal("pre_process", infile, tmp_path / "out") == f"{infile}: has no rows"


def test_a_species_without_rows_is_refused(refusal, tmp_path):
    infile = tmp_path / "in.csv"
    infile.write_text("".join(GOOD.splitlines(keepends=True)[:2]))
    expected = f"{infile}: no row is of species Iris-virginica, so no model could learn it"
    assert refusal("pre_process", infile, tmp_path / "out") == expected


def test_a_missing_file_and_a_folder_are_refused(refusal, tmp_path):
    missing = tmp_path / "none.csv"
    assert refusal("pre_process", missing, tmp_path / "out") == f"{missing}: No such file or directory"
    assert refusal("pre_process", tmp_path, tmp_path / "out") == f"{tmp_path}: Is a directory"
    assert not (tmp_path / "out").exists()


def test_wrong_arguments_are_refused(refusal, iris, tmp_path):
    assert refusal("pre_process", iris).startswith("the following arguments are required: OUTDIR (usage: ")
    assert refusal("pre_process", iris, tmp_path, "more").startswith("unrecognized arguments: more (usage: ")


def test_a_refusal_from_a_real_process_is_one_line_and_exit_code_2(start, tmp_path):
    outcome = start("pre_process", "none\n.csv", tmp_path / "out")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == "pre_process: none .csv: No such file or directory\n"


@pytest.mark.parametrize(
    ("outdir", "reason"),
    [
        ("file", "File exists"),
        ("file/below", "Not a directory"),
    ],
)
def test_an_outdir_that_cannot_be_is_refused(refusal, iris, tmp_path, outdir, reason):
    (tmp_path / "file").write_text("mine")
    target = tmp_path / outdir
    assert refusal("pre_process", iris, target) == f"{target}: cannot write there: {reason}"
    assert (tmp_path / "file").read_text() == "mine"


def test_an_outdir_that_nobody_can_write_to_is_refused(refusal, iris):
    # Not even root can make a file in /proc.
    assert refusal("pre_process", iris, "/proc").startswith("/proc: cannot write there: ")


def test_nothing_is_replaced_unless_everything_can_be(refusal, iris, tmp_path):
    (tmp_path / "x_train.csv").write_text("old")
    (tmp_path / "scaler.json").mkdir()
    expected = f"{tmp_path / 'scaler.json'}: is a directory"
    assert refusal("pre_process", iris, tmp_path) == expected
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scaler.json", "x_train.csv"]
    assert (tmp_path / "x_train.csv").read_text() == "old"


def test_a_disk_that_fills_up_leaves_the_old_files(refusal, iris, tmp_path, monkeypatch):
    for name in ("x_train.csv", "y_train.csv", "scaler.json"):
        (tmp_path / name).write_text("old")
    write_text = Path.write_text

    def write_until_full(path, content, **options):
        if path.name == "scaler.json":
            raise OSError(28, "No space left on device", str(path))
        return write_text(path, content, **options)

    monkeypatch.setattr(Path, "write_text", write_until_full)
    expected = f"{tmp_path}: cannot write there: No space left on device"
    assert refusal("pre_process", iris, tmp_path) == expected
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "x_train.csv": "old",
        "y_train.csv": "old",
        "scaler.json": "old",
    }
