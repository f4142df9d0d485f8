"""Make iris measurements ready for training: pre_process.py INFILE OUTDIR

INFILE is a CSV without a header; a row has sepal length, sepal width, petal length and petal width in
centimetres, and the species. OUTDIR, made if it is not there, gets

    x_train.csv   the four features, each scaled to [0, 1]
    y_train.csv   the species, one-hot: one column of 0 and 1 for each
    scaler.json   the fitted scaler, so that inference scales new rows in the same way

The same input gives the same bytes. Whatever is wrong ends in one line on stderr and exit code 2; OUTDIR is
then as it was.
"""

import argparse
import csv
import json
import re
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

import pandas as pd
from sklearn.preprocessing import MinMaxScaler

FEATURES = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
SPECIES = ["Iris-setosa", "Iris-versicolor", "Iris-virginica"]

NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
LARGEST = 1e6
"""Far beyond any flower, and small enough that no later sum or product can overflow."""


class Refusal(Exception):
    """The program cannot go on; the message names the file and, where there is one, the row."""


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        usage = " ".join(self.format_usage().split())
        raise Refusal(f"{message} ({usage})")


def read_rows(path: Path) -> list[tuple[int, list[str]]]:
    """The rows of a CSV with their line numbers, from 1. Blank lines at the end do not count."""
    rows: list[tuple[int, list[str]]] = []
    try:
        # A byte that is not UTF-8 becomes a character that no value has, and is named with its row.
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
    return rows


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


def species(text: str) -> str:
    """The species that `text` names. Raises ValueError, with a message for the user, if it names none."""
    name = text.strip()
    if not name:
        raise ValueError("species is missing")
    if name not in SPECIES:
        raise ValueError(f"{name[:40]!a} is not a species that is known ({', '.join(SPECIES)})")
    return name


def read_measurements(path: Path) -> pd.DataFrame:
    """The checked rows of INFILE: the four features as floats, and `species`."""
    columns = [*FEATURES, "species"]
    records: list[list[float | str]] = []
    for row, fields in read_rows(path):
        try:
            if len(fields) != len(columns):
                raise ValueError(f"has {len(fields)} columns instead of {len(columns)}")
            measured = [number(text, column) for text, column in zip(fields, FEATURES, strict=False)]
            records.append([*measured, species(fields[-1])])
        except ValueError as error:
            raise Refusal(f"{path}: row {row}: {error}") from error
    frame = pd.DataFrame(records, columns=columns)
    for name in SPECIES:
        if not (frame["species"] == name).any():
            raise Refusal(f"{path}: no row is of species {name}, so no model could learn it")
    return frame


def pre_process(measurements: pd.DataFrame) -> dict[str, str]:
    """The files of OUTDIR: name to content."""
    scaler = MinMaxScaler().fit(measurements[FEATURES])
    # Rounding may put the largest value of a column at 1.0000000000000002.
    scaled = scaler.transform(measurements[FEATURES]).clip(0.0, 1.0)
    labels = pd.Categorical(measurements["species"], categories=SPECIES)
    fitted = {
        "format": "iris-scaler",
        "version": 1,
        "features": FEATURES,
        "data_min": scaler.data_min_.tolist(),
        "data_max": scaler.data_max_.tolist(),
    }
    return {
        "x_train.csv": pd.DataFrame(scaled, columns=FEATURES).to_csv(index=False, lineterminator="\n"),
        "y_train.csv": pd.get_dummies(labels, dtype=int).to_csv(index=False, lineterminator="\n"),
        "scaler.json": json.dumps(fitted, indent=2) + "\n",
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
    parser = Parser(prog="pre_process", description="Make iris measurements ready for training.")
    parser.add_argument("infile", metavar="INFILE", type=Path, help="a CSV without a header")
    parser.add_argument(
        "outdir", metavar="OUTDIR", type=Path, help="gets x_train.csv, y_train.csv, scaler.json"
    )
    try:
        arguments = parser.parse_args()
        measurements = read_measurements(arguments.infile)
        publish(arguments.outdir, pre_process(measurements))
    except Refusal as refusal:
        print(" ".join(f"pre_process: {refusal}".splitlines()), file=sys.stderr)
        return 2
    print(f"{len(measurements)} rows made ready")
    return 0


if __name__ == "__main__":
    sys.exit(main())
