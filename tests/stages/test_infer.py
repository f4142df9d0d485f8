"""infer.py MODEL INFILE OUTDIR, and the three programs together"""

import json

import pandas as pd
import pytest

SPECIES = ["Iris-setosa", "Iris-versicolor", "Iris-virginica"]


def test_unseen_rows_are_named_in_the_order_of_the_input(start, trained, unseen, tmp_path):
    outcome = start("infer", trained / "model.json", unseen, tmp_path)
    assert (outcome.code, outcome.err) == (0, "")
    assert [path.name for path in tmp_path.iterdir()] == [unseen.name]
    assert (tmp_path / unseen.name).read_bytes() == "".join(f"{name}\n" for name in SPECIES * 2).encode()


def test_from_the_raw_data_to_predictions_that_are_right(call, trained, iris, tmp_path):
    rows = [line.rsplit(",", 1) for line in iris.read_text().split()]
    shuffled = rows[1::2] + rows[0::2]
    (tmp_path / "raw.csv").write_text("\n".join(features for features, _ in shuffled))
    assert call("infer", trained / "model.json", tmp_path / "raw.csv", tmp_path / "out").code == 0
    named = (tmp_path / "out" / "raw.csv").read_text().splitlines()
    right = sum(name == species for name, (_, species) in zip(named, shuffled, strict=True))
    assert right >= 0.95 * 150


def test_a_row_is_named_alike_whatever_is_beside_it(call, trained, unseen, tmp_path):
    # A scaler fitted on the batch would make the only row of it all zeros.
    expected = SPECIES * 2
    for row, species in zip(unseen.read_text().splitlines(), expected, strict=True):
        (tmp_path / "one.csv").write_text(row)
        assert call("infer", trained / "model.json", tmp_path / "one.csv", tmp_path / "out").code == 0
        assert (tmp_path / "out" / "one.csv").read_text() == f"{species}\n"


def test_the_model_as_a_file_says_what_scikit_learn_says(call, trained, prepared, iris, tmp_path):
    from sklearn.linear_model import LogisticRegression

    x = pd.read_csv(prepared / "x_train.csv")
    y = pd.read_csv(prepared / "y_train.csv").idxmax(axis="columns")
    expected = LogisticRegression(C=10.0, tol=1e-8, max_iter=10_000).fit(x, y).predict(x)
    (tmp_path / "raw.csv").write_text("\n".join(line.rsplit(",", 1)[0] for line in iris.read_text().split()))
    assert call("infer", trained / "model.json", tmp_path / "raw.csv", tmp_path / "out").code == 0
    assert (tmp_path / "out" / "raw.csv").read_text().splitlines() == expected.tolist()


def test_the_same_input_gives_the_same_bytes(call, trained, unseen, tmp_path):
    for name in ("once", "again"):
        assert call("infer", trained / "model.json", unseen, tmp_path / name).code == 0
    assert (tmp_path / "once" / unseen.name).read_bytes() == (tmp_path / "again" / unseen.name).read_bytes()


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("6.1,x,4.3,1.3", "'x' is not a number (sepal_width)"),
        ("6.1,2.8,,1.3", "petal_length is missing"),
        ("6.1,2.8,4.3,inf", "'inf' is not a number (petal_width)"),
        ("1e7,2.8,4.3,1.3", "'1e7' is out of range (sepal_length)"),
        ("6.1,2.8,4.3,1.3,Iris-versicolor", "has 5 columns instead of 4"),
        ("", "has 0 columns instead of 4"),
    ],
)
def test_a_wrong_row_is_named_with_its_file_and_reason(refusal, trained, tmp_path, row, reason):
    infile = tmp_path / "in.csv"
    infile.write_text(f"5.0,3.4,1.5,0.3\n{row}\n6.8,3.1,5.7,2.2\n")
    message = refusal("infer", trained / "model.json", infile, tmp_path / "out")
    assert message == f"{infile}: row 2: {reason}"
    assert not (tmp_path / "out").exists()


def test_a_file_without_rows_is_refused(refusal, trained, tmp_path):
    infile = tmp_path / "in.csv"
    infile.write_text("\n")
    assert refusal("infer", trained / "model.json", infile, tmp_path / "out") == f"{infile}: has no rows"


def test_missing_files_are_named(refusal, trained, unseen, tmp_path):
    missing = tmp_path / "none"
    for arguments in ((missing, unseen), (trained / "model.json", missing)):
        assert refusal("infer", *arguments, tmp_path / "out") == f"{missing}: No such file or directory"


def test_an_input_is_never_replaced(refusal, trained, tmp_path):
    infile = tmp_path / "in.csv"
    infile.write_text("5.0,3.4,1.5,0.3\n")
    message = refusal("infer", trained / "model.json", infile, tmp_path)
    assert message == f"{infile}: is an input, and the result would replace it"
    assert infile.read_text() == "5.0,3.4,1.5,0.3\n"


def test_an_outdir_that_cannot_be_written_to_is_refused(refusal, trained, unseen, tmp_path):
    (tmp_path / "file").write_text("mine")
    message = refusal("infer", trained / "model.json", unseen, tmp_path / "file")
    assert message == f"{tmp_path / 'file'}: cannot write there: File exists"
    assert refusal("infer", trained / "model.json", unseen, "/proc").startswith("/proc: cannot write there: ")


def edit(path, value):
    """A change to a model: `value` at the place that `path`, keys and indices, names."""

    def change(model):
        place = model
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (edit(["format"], "pickle"), 'format is not "iris-model"'),
        (edit(["version"], 2), "version is not 1"),
        (edit(["version"], True), "version is not 1"),
        (edit(["features"], ["a"]), "features is not "),
        (edit(["species"], ["=cmd()", "b", "c"]), "species is not "),
        (edit(["extra"], 1), "it is not an object of "),
        (lambda model: model.pop("scaler"), "it is not an object of "),
        (edit(["scaler"], []), "scaler is not an object of "),
        (edit(["scaler", "type"], "os.system"), 'scaler.type is not "MinMaxScaler"'),
        (edit(["scaler", "data_min"], [0.0] * 3), "scaler.data_min is not 4 numbers"),
        (edit(["scaler", "data_min", 0], 9.0), "scaler.data_min is above scaler.data_max"),
        (edit(["scaler", "data_max", 1], float("nan")), "scaler.data_max is not 4 numbers"),
        (edit(["classifier", "type"], "SVC"), 'classifier.type is not "LogisticRegression"'),
        (edit(["classifier", "coef"], [[0.0] * 4] * 2), "classifier.coef is not 3 x 4 numbers"),
        (edit(["classifier", "coef", 1], [0.0] * 5), "classifier.coef is not 3 x 4 numbers"),
        (edit(["classifier", "coef", 1, 2], "1.0"), "classifier.coef is not 3 x 4 numbers"),
        (edit(["classifier", "coef", 1, 2], float("inf")), "classifier.coef is not 3 x 4 numbers"),
        (edit(["classifier", "coef", 1, 2], 10**400), "classifier.coef is not 3 x 4 numbers"),
        (edit(["classifier", "coef", 1, 2], True), "classifier.coef is not 3 x 4 numbers"),
        (edit(["classifier", "intercept"], None), "classifier.intercept is not 3 numbers"),
    ],
)
def test_a_model_that_was_tampered_with_is_refused(refusal, trained, unseen, tmp_path, change, reason):
    model = json.loads((trained / "model.json").read_text())
    change(model)
    path = tmp_path / "model.json"
    path.write_text(json.dumps(model))
    message = refusal("infer", path, unseen, tmp_path / "out")
    assert message.startswith(f"{path}: is not a model that train.py wrote: {reason}")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80\x04\x95 a pickle",
        b"[" * 60_000,
        b'{"format": "iris-model", "format": "iris-model"}',
        b"9" * 60_000,
        b" " * 10_000_000,
    ],
    ids=["empty", "pickle", "deep", "twice", "digits", "large"],
)
def test_a_file_that_is_no_model_is_refused(refusal, unseen, tmp_path, content):
    path = tmp_path / "model.json"
    path.write_bytes(content)
    message = refusal("infer", path, unseen, tmp_path / "out")
    assert message.startswith(f"{path}: is not a model that train.py wrote: ")


def test_a_model_without_end_is_refused(refusal, unseen, tmp_path):
    message = refusal("infer", "/dev/zero", unseen, tmp_path / "out")
    assert message == "/dev/zero: is not a model that train.py wrote: it is larger than 65536 bytes"


def test_a_refusal_from_a_real_process_is_one_line_and_exit_code_2(start, unseen, tmp_path):
    outcome = start("infer", unseen, unseen, tmp_path / "out")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith(f"infer: {unseen}: is not a model that train.py wrote: ")
    assert outcome.err.count("\n") == 1
