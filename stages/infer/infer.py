"""Name the species of iris flowers: infer.py MODEL INFILE OUTDIR

MODEL is the model.json that train.py wrote. INFILE is a CSV without a header; a row has sepal length, sepal
width, petal length and petal width in centimetres. OUTDIR, made if it is not there, gets a CSV with the name
of INFILE, in which each line is the species of the row of that number.

The same input gives the same bytes. Whatever is wrong ends in one line on stderr and exit code 2; OUTDIR is
then as it was.
"""

import argparse
import csv
import json
import re
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler

FEATURES = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
SPECIES = ["Iris-setosa", "Iris-versicolor", "Iris-virginica"]

NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
LARGEST = 1e6
"""Far beyond any flower or sane parameter, and small enough that no later sum or product can overflow."""
MODEL_BYTES = 64 * 1024


class Refusal(Exception):
    """The program cannot go on; the message names the file and, where there is one, the row."""


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        usage = " ".join(self.format_usage().split())
        raise Refusal(f"{message} ({usage})")


def read_model(path: Path) -> Pipeline:
    """Scaler and classifier, rebuilt from a model.json of which nothing is taken on trust."""
    try:
        with path.open("rb") as file:
            content = file.read(MODEL_BYTES + 1)
    except OSError as error:
        raise Refusal(f"{path}: {error.strerror}") from error
    try:
        if len(content) > MODEL_BYTES:
            raise ValueError(f"it is larger than {MODEL_BYTES} bytes")
        document = json.loads(content, object_pairs_hook=unique_keys)
        model = members(document, "it", {"format", "version", "features", "species", "scaler", "classifier"})
        expect(model["format"], "format", "iris-model")
        expect(model["version"], "version", 1)
        expect(model["features"], "features", FEATURES)
        expect(model["species"], "species", SPECIES)
        return make_pipeline(rebuild_scaler(model["scaler"]), rebuild_classifier(model["classifier"]))
    except (ValueError, RecursionError) as error:
        raise Refusal(f"{path}: is not a model that train.py wrote: {error}") from error


def rebuild_scaler(document: Any) -> MinMaxScaler:
    scaler = members(document, "scaler", {"type", "data_min", "data_max"})
    expect(scaler["type"], "scaler.type", "MinMaxScaler")
    low = numbers(scaler["data_min"], "scaler.data_min", (len(FEATURES),))
    high = numbers(scaler["data_max"], "scaler.data_max", (len(FEATURES),))
    if (low > high).any():
        raise ValueError("scaler.data_min is above scaler.data_max")
    # Its parameters follow from the extremes alone, so these two rows stand for all that it was fitted on.
    return MinMaxScaler().fit(np.stack([low, high]))


def rebuild_classifier(document: Any) -> LogisticRegression:
    classifier = members(document, "classifier", {"type", "coef", "intercept"})
    expect(classifier["type"], "classifier.type", "LogisticRegression")
    model = LogisticRegression()
    model.classes_ = np.array(SPECIES)
    model.coef_ = numbers(classifier["coef"], "classifier.coef", (len(SPECIES), len(FEATURES)))
    model.intercept_ = numbers(classifier["intercept"], "classifier.intercept", (len(SPECIES),))
    model.n_features_in_ = len(FEATURES)
    return model


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(keys := dict(pairs)) != len(pairs):
        raise ValueError("it has a key twice")
    return keys


def members(value: Any, name: str, keys: set[str]) -> dict[str, Any]:
    """`value`, if it is an object with just these keys. Raises ValueError if not."""
    if type(value) is not dict or set(value) != keys:
        raise ValueError(f"{name} is not an object of {', '.join(sorted(keys))}")
    return value


def expect(value: Any, name: str, expected: Any) -> None:
    if type(value) is not type(expected) or value != expected:
        raise ValueError(f"{name} is not {json.dumps(expected)}")


def numbers(value: Any, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The array that nested lists of JSON numbers hold. Raises ValueError if shape, type or size is wrong."""

    def fits(value: Any, shape: tuple[int, ...]) -> bool:
        if shape:
            return type(value) is list and len(value) == shape[0] and all(fits(v, shape[1:]) for v in value)
        return type(value) in (int, float) and abs(value) <= LARGEST

    if not fits(value, shape):
        size = " x ".join(map(str, shape))
        raise ValueError(f"{name} is not {size} numbers of at most {LARGEST:g}")
    return np.array(value, dtype=np.float64)


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


def read_features(path: Path) -> pd.DataFrame:
    """The checked rows of INFILE. Blank lines at the end do not count."""
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
    if not rows:
        raise Refusal(f"{path}: has no rows")
    records = []
    for row, fields in rows:
        try:
            if len(fields) != len(FEATURES):
                raise ValueError(f"has {len(fields)} columns instead of {len(FEATURES)}")
            records.append([number(text, column) for text, column in zip(fields, FEATURES, strict=True)])
        except ValueError as error:
            raise Refusal(f"{path}: row {row}: {error}") from error
    return pd.DataFrame(records, columns=FEATURES)


def publish(output: Path, content: str, inputs: Iterable[Path]) -> None:
    """Write the file as a whole or not at all: aside at first, and renamed once it is complete."""
    try:
        if output.exists() and any(output.samefile(path) for path in inputs):
            raise Refusal(f"{output}: is an input, and the result would replace it")
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".partial-", dir=output.parent) as aside:
            complete = Path(aside) / output.name
            complete.write_text(content, encoding="utf-8", newline="")
            complete.replace(output)
    except OSError as error:
        raise Refusal(f"{output.parent}: cannot write there: {error.strerror}") from error


def main() -> int:
    parser = Parser(prog="infer", description="Name the species of iris flowers.")
    parser.add_argument("model", metavar="MODEL", type=Path, help="model.json")
    parser.add_argument("infile", metavar="INFILE", type=Path, help="a CSV of feature rows without a header")
    parser.add_argument("outdir", metavar="OUTDIR", type=Path, help="gets a CSV with the name of INFILE")
    try:
        arguments = parser.parse_args()
        model = read_model(arguments.model)
        features = read_features(arguments.infile)
        named = pd.Series(model.predict(features.to_numpy()))
        content = named.to_csv(index=False, header=False, lineterminator="\n")
        publish(arguments.outdir / arguments.infile.name, content, inputs=(arguments.model, arguments.infile))
    except Refusal as refusal:
        print(" ".join(f"infer: {refusal}".splitlines()), file=sys.stderr)
        return 2
    print(f"{len(features)} rows named")
    return 0


if __name__ == "__main__":
    sys.exit(main())
