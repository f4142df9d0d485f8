"""Train a classifier of iris species: train.py XFILE YFILE OUTDIR

XFILE and YFILE are the x_train.csv and y_train.csv that pre_process.py wrote; the scaler.json beside XFILE
goes into the model. OUTDIR, made if it is not there, gets

    model.json     scaler and classifier as numbers: reading it runs no code, as unpickling would
    metrics.json   accuracy on rows held out, and of a cross-validation

The same input gives the same bytes. Whatever is wrong ends in one line on stderr and exit code 2; OUTDIR is
then as it was.
"""

import argparse
import csv
import json
import math
import re
import statistics
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score, train_test_split

FEATURES = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
SPECIES = ["Iris-setosa", "Iris-versicolor", "Iris-virginica"]

SEED = 20
HELD_OUT = 0.2
FOLDS = 5

# BLAS adds in another order on another processor, so the last digits of a fit differ between hosts. This
# solver's digits agree to 1e-13 (those of lbfgs only to 1e-7), and the model keeps eight of them.
SOLVER = "newton-cholesky"
DIGITS = 8

NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
LARGEST = 1e6
SCALER_BYTES = 64 * 1024


class Refusal(Exception):
    """The program cannot go on; the message names the file and, where there is one, the row."""


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        usage = " ".join(self.format_usage().split())
        raise Refusal(f"{message} ({usage})")


def read_table(path: Path, columns: list[str]) -> pd.DataFrame:
    """The numbers of a CSV that has the header `columns`. Rows are counted as lines: the header is row 1."""
    rows: list[tuple[int, list[str]]] = []
    try:
        # A byte that is not UTF-8 becomes a character that no number has, and is named with its row.
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            reader = csv.reader(file, strict=True)
            try:
                rows.extend((reader.line_num, fields) for fields in reader)
            except csv.Error as error:
                raise Refusal(f"{path}: row {reader.line_num}: {error}") from error
    except OSError as error:
        raise Refusal(f"{path}: {error.strerror}") from error
    while rows and not rows[-1][1]:
        rows.pop()
    if not rows or rows[0][1] != columns:
        raise Refusal(f"{path}: row 1: is not the header {','.join(columns)}")
    if len(rows) == 1:
        raise Refusal(f"{path}: has no rows")
    records = []
    for row, fields in rows[1:]:
        try:
            if len(fields) != len(columns):
                raise ValueError(f"has {len(fields)} columns instead of {len(columns)}")
            records.append([number(text, column) for text, column in zip(fields, columns, strict=True)])
        except ValueError as error:
            raise Refusal(f"{path}: row {row}: {error}") from error
    return pd.DataFrame(records, columns=columns)


def number(text: str, column: str) -> float:
    """The number that `text` says. Raises ValueError, with a message for the user, if it says none."""
    text = text.strip()
    if not text:
        raise ValueError(f"{column} is missing")
    if not NUMBER.fullmatch(text):
        raise ValueError(f"{text[:40]!a} is not a number ({column})")
    value = float(text)
    if abs(value) > LARGEST:
        raise ValueError(f"{text[:40]!a} is out of range ({column})")
    return value


def read_labels(path: Path, rows: int) -> pd.Series:
    """The species of each of `rows` rows, from their one-hot columns."""
    table = read_table(path, SPECIES)
    one_hot = table.isin([0.0, 1.0]).all(axis="columns") & (table.sum(axis="columns") == 1.0)
    if not one_hot.all():
        # Two lines up: the header, and counting from one.
        raise Refusal(f"{path}: row {int(one_hot.argmin()) + 2}: is not one 1 among 0s")
    if len(table) != rows:
        raise Refusal(f"{path}: has {len(table)} rows, but there are {rows} rows of features")
    for name in SPECIES:
        count = int(table[name].sum())
        if count < FOLDS:
            raise Refusal(
                f"{path}: {count} rows are of {name}; training needs at least {FOLDS} of each species"
            )
    return table.idxmax(axis="columns")


def read_scaler(path: Path) -> dict[str, Any]:
    """The scaler that pre_process.py fitted, as the model keeps it."""
    try:
        with path.open("rb") as file:
            content = file.read(SCALER_BYTES + 1)
    except OSError as error:
        raise Refusal(f"{path}: {error.strerror}") from error
    try:
        if len(content) > SCALER_BYTES:
            raise ValueError("too large")
        document = json.loads(content)
        if (document["format"], document["version"], document["features"]) != ("iris-scaler", 1, FEATURES):
            raise ValueError("another format, version or set of features")
        limits: dict[str, list[float]] = {"data_min": document["data_min"], "data_max": document["data_max"]}
        for values in limits.values():
            if len(values) != len(FEATURES) or not all(type(v) is float and math.isfinite(v) for v in values):
                raise ValueError(f"not {len(FEATURES)} finite numbers")
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise Refusal(f"{path}: is not a scaler that pre_process.py wrote") from error
    return {"type": "MinMaxScaler", **limits}


def classifier() -> LogisticRegression:
    return LogisticRegression(C=10.0, solver=SOLVER, tol=1e-10, max_iter=1000)


def train(features: pd.DataFrame, labels: pd.Series) -> LogisticRegression:
    return classifier().fit(features.to_numpy(), labels.to_numpy())


def evaluate(features: pd.DataFrame, labels: pd.Series) -> dict[str, Any]:
    """How well such a classifier does on rows that it was not fitted on."""
    x, held_x, y, held_y = train_test_split(
        features, labels, test_size=HELD_OUT, stratify=labels, random_state=SEED
    )
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=SEED)
    accuracies = cross_val_score(classifier(), features.to_numpy(), labels.to_numpy(), cv=folds).tolist()
    return {
        "rows": len(features),
        "seed": SEED,
        "held_out": {
            "accuracy": train(x, y).score(held_x.to_numpy(), held_y.to_numpy()),
            "rows": len(held_x),
        },
        "cross_validation": {
            "accuracies": accuracies,
            "mean": statistics.fmean(accuracies),
            "standard_deviation": statistics.pstdev(accuracies),
        },
    }


def describe(model: LogisticRegression, scaler: dict[str, Any]) -> dict[str, Any]:
    """The model as a document of names and numbers."""

    def keep(value: float) -> float:
        return float(f"{value:.{DIGITS}g}")

    return {
        "format": "iris-model",
        "version": 1,
        "features": FEATURES,
        "species": model.classes_.tolist(),
        "scaler": scaler,
        "classifier": {
            "type": "LogisticRegression",
            "coef": [[keep(value) for value in row] for row in model.coef_],
            "intercept": [keep(value) for value in model.intercept_],
        },
    }


def publish(outdir: Path, files: Mapping[str, str]) -> None:
    """Write every file or none: aside at first, and renamed once all are complete."""
    try:
        outdir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".partial-", dir=outdir) as aside:
            for name, content in files.items():
                if (outdir / name).is_dir():
                    raise Refusal(f"{outdir / name}: is a directory")
                (Path(aside) / name).write_text(content, encoding="utf-8", newline="")
            for name in files:
                (Path(aside) / name).replace(outdir / name)
    except OSError as error:
        raise Refusal(f"{outdir}: cannot write there: {error.strerror}") from error


def main() -> int:
    parser = Parser(prog="train", description="Train a classifier of iris species.")
    parser.add_argument("xfile", metavar="XFILE", type=Path, help="x_train.csv, with scaler.json beside it")
    parser.add_argument("yfile", metavar="YFILE", type=Path, help="y_train.csv")
    parser.add_argument("outdir", metavar="OUTDIR", type=Path, help="gets model.json and metrics.json")
    try:
        arguments = parser.parse_args()
        features = read_table(arguments.xfile, FEATURES)
        labels = read_labels(arguments.yfile, len(features))
        model = describe(train(features, labels), read_scaler(arguments.xfile.with_name("scaler.json")))
        metrics = evaluate(features, labels)
        files = {"model.json": model, "metrics.json": metrics}
        publish(
            arguments.outdir,
            {name: json.dumps(document, indent=2, sort_keys=True) + "\n" for name, document in files.items()},
        )
    except Refusal as refusal:
        print(" ".join(f"train: {refusal}".splitlines()), file=sys.stderr)
        return 2
    print(f"accuracy {metrics['held_out']['accuracy']:.3f} on {metrics['held_out']['rows']} rows held out")
    return 0


if __name__ == "__main__":
    sys.exit(main())
