"""train.py XFILE YFILE OUTDIR"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TRAIN = Path(__file__).parents[2] / "stages" / "train" / "train.py"
FEATURES = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
SPECIES = ["Iris-setosa", "Iris-versicolor", "Iris-virginica"]


@pytest.fixture
def inputs(prepared, tmp_path):
    """A copy of what pre_process.py made, to be spoilt."""
    return shutil.copytree(prepared, tmp_path / "in")


@pytest.fixture
def refused(refusal, inputs, tmp_path):
    """`refused()` is why train.py refuses the inputs; nothing may be left of the attempt."""

    def attempt():
        message = refusal("train", inputs / "x_train.csv", inputs / "y_train.csv", tmp_path / "out")
        assert not (tmp_path / "out").exists()
        return message

    return attempt


def spoil(path, row, text):
    lines = path.read_text().splitlines()
    lines[row - 1] = text
    path.write_text("\n".join(lines))


def test_the_model_is_names_and_numbers(trained):
    model = json.loads((trained / "model.json").read_text())
    assert (model["format"], model["version"]) == ("iris-model", 1)
    assert (model["features"], model["species"]) == (FEATURES, SPECIES)
    assert model["scaler"] == {
        "type": "MinMaxScaler",
        "data_min": [4.3, 2.0, 1.0, 0.1],
        "data_max": [7.9, 4.4, 6.9, 2.5],
    }
    assert model["classifier"]["type"] == "LogisticRegression"
    assert [len(row) for row in model["classifier"]["coef"]] == [4, 4, 4]
    assert len(model["classifier"]["intercept"]) == 3
    # Longer petals speak for virginica and against setosa.
    setosa, _, virginica = model["classifier"]["coef"]
    assert setosa[2] < -1 and virginica[2] > 1


def test_the_metrics_are_those_of_a_good_classifier(trained):
    text = (trained / "metrics.json").read_text()
    metrics = json.loads(text)
    assert text == json.dumps(metrics, indent=2, sort_keys=True) + "\n"
    assert metrics["rows"] == 150
    assert metrics["held_out"]["rows"] == 30
    assert 0.9 <= metrics["held_out"]["accuracy"] <= 1.0
    accuracies = metrics["cross_validation"]["accuracies"]
    assert len(accuracies) == 5
    assert metrics["cross_validation"]["mean"] == pytest.approx(sum(accuracies) / 5)
    assert 0.93 <= metrics["cross_validation"]["mean"] < 1.0


def test_the_metrics_of_labels_that_mean_nothing_are_poor(call, inputs, tmp_path):
    header, *rows = (inputs / "y_train.csv").read_text().splitlines()
    in_turn = [rows[50 * (i % 3)] for i in range(150)]
    (inputs / "y_train.csv").write_text("\n".join([header, *in_turn]))
    assert call("train", inputs / "x_train.csv", inputs / "y_train.csv", tmp_path / "out").code == 0
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["cross_validation"]["mean"] < 0.6


def test_the_same_input_gives_the_same_bytes(start, trained, prepared, tmp_path):
    outcome = start("train", prepared / "x_train.csv", prepared / "y_train.csv", tmp_path)
    assert outcome.code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["metrics.json", "model.json"]
    for name in ("metrics.json", "model.json"):
        assert (tmp_path / name).read_bytes() == (trained / name).read_bytes()


@pytest.mark.parametrize("processor", ["Prescott", "Haswell"])
def test_another_processor_gives_the_same_bytes(trained, prepared, tmp_path, processor):
    # OpenBLAS adds in another order with the kernels of another processor, and so with other rounding.
    program = [sys.executable, str(TRAIN)]
    subprocess.run(
        [*program, prepared / "x_train.csv", prepared / "y_train.csv", tmp_path],
        env={**os.environ, "OPENBLAS_CORETYPE": processor, "OPENBLAS_NUM_THREADS": "1"},
        check=True,
        timeout=900,
    )
    assert (tmp_path / "model.json").read_bytes() == (trained / "model.json").read_bytes()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("0.1,abc,0.3,0.4", "'abc' is not a number (sepal_width)"),
        ("0.1,0.2,0.3,", "petal_width is missing"),
        ("0.1,0.2,nan,0.4", "'nan' is not a number (petal_length)"),
        ("1e300,0.2,0.3,0.4", "'1e300' is out of range (sepal_length)"),
        ("0.1,0.2,0.3", "has 3 columns instead of 4"),
    ],
)
def test_a_wrong_row_of_features_is_named(refused, inputs, text, reason):
    spoil(inputs / "x_train.csv", 17, text)
    assert refused() == f"{inputs / 'x_train.csv'}: row 17: {reason}"


@pytest.mark.parametrize("text", ["1,1,0", "0,0,0", "2,-1,0", "0.5,0.5,0"])
def test_a_row_that_is_not_one_hot_is_named(refused, inputs, text):
    spoil(inputs / "y_train.csv", 17, text)
    assert refused() == f"{inputs / 'y_train.csv'}: row 17: is not one 1 among 0s"


def test_features_and_species_in_exchange_are_noticed(refusal, inputs, tmp_path):
    y_file = inputs / "y_train.csv"
    message = refusal("train", y_file, inputs / "x_train.csv", tmp_path / "out")
    assert message == f"{y_file}: row 1: is not the header {','.join(FEATURES)}"


def test_files_of_different_length_are_refused(refused, inputs):
    y_file = inputs / "y_train.csv"
    y_file.write_text("".join(y_file.read_text().splitlines(keepends=True)[:-1]))
    assert refused() == f"{y_file}: has 149 rows, but there are 150 rows of features"


def test_too_few_rows_of_a_species_are_refused(refused, inputs):
    for name in ("x_train.csv", "y_train.csv"):
        path = inputs / name
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:105]))
    expected = (
        f"{inputs / 'y_train.csv'}: 4 rows are of Iris-virginica; training needs at least 5 of each species"
    )
    assert refused() == expected


@pytest.mark.parametrize("name", ["x_train.csv", "y_train.csv"])
def test_empty_files_are_refused(refused, inputs, name):
    path = inputs / name
    header = path.read_text().splitlines()[0]
    path.write_text(f"{header}\n")
    assert refused() == f"{path}: has no rows"
    path.write_text("")
    assert refused() == f"{path}: row 1: is not the header {header}"


@pytest.mark.parametrize("name", ["x_train.csv", "y_train.csv", "scaler.json"])
def test_a_missing_file_is_named(refused, inputs, name):
    (inputs / name).unlink()
    assert refused() == f"{inputs / name}: No such file or directory"


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "[" * 60_000,
        " " * 70_000,
        '{"format": "iris-scaler", "version": 1}',
        '{"format": "iris-scaler", "version": 1, "features": ["a"], "data_min": [0.0], "data_max": [1.0]}',
        json.dumps(
            {
                "format": "iris-scaler",
                "version": 1,
                "features": FEATURES,
                "data_min": [0.0, 0.0, 0.0, float("nan")],
                "data_max": [1.0] * 4,
            }
        ),
    ],
    ids=lambda content: content[:20],
)
def test_a_scaler_of_another_origin_is_refused(refused, inputs, content):
    (inputs / "scaler.json").write_text(content)
    assert refused() == f"{inputs / 'scaler.json'}: is not a scaler that pre_process.py wrote"


def test_an_outdir_that_cannot_be_written_to_is_refused(refusal, prepared, tmp_path):
    (tmp_path / "file").write_text("mine")
    message = refusal("train", prepared / "x_train.csv", prepared / "y_train.csv", tmp_path / "file")
    assert message == f"{tmp_path / 'file'}: cannot write there: File exists"


def test_a_refusal_from_a_real_process_is_one_line_and_exit_code_2(start, tmp_path):
    outcome = start("train", tmp_path / "x.csv")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith("train: the following arguments are required: YFILE, OUTDIR (usage: ")
    assert outcome.err.count("\n") == 1
