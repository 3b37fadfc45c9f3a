"""Writes the versions of this environment and the results of a test run into docs/tested.csv.

``python .ci/record.py oldest results.xml``; the second argument is what ``pytest --junitxml``
wrote, and further ones are pytest's. A row takes the place of the last one of the same name and
version of Python.
"""

import csv
import datetime
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from xml.etree import ElementTree

TABLE = Path(__file__).resolve().parents[1] / "docs" / "tested.csv"
PACKAGES = ["torch", "scikit-learn", "numpy", "scipy", "joblib", "threadpoolctl"]
HEADER = ["versions", "Python", *PACKAGES, "system", "date", "tests"]


def results(file):
    """How many tests passed, were skipped and failed as expected; none may have failed."""
    counts = dict.fromkeys(["passed", "skipped", "expected failures"], 0)
    for case in ElementTree.parse(file).iter("testcase"):
        assert case.find("failure") is None and case.find("error") is None, case.attrib
        skipped = case.find("skipped")
        if skipped is None:
            counts["passed"] += 1
        elif skipped.get("type") == "pytest.xfail":
            counts["expected failures"] += 1
        else:
            counts["skipped"] += 1
    return ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)


def record(name, file, arguments, table=TABLE):
    """Add the row, or replace the last one of this name and version of Python."""
    told = results(file) + (f" ({' '.join(arguments)})" if arguments else "")
    system = f"{platform.system()} {platform.machine()}"
    today = datetime.date.today().isoformat()
    python = platform.python_version()
    row = [name, python, *map(short_version, PACKAGES), system, today, told]
    minor = python.rpartition(".")[0]
    kept = [old for old in rows(table) if (old[0], old[1].rpartition(".")[0]) != (name, minor)]
    with table.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream, lineterminator="\n").writerows(
            [HEADER, *sorted([*kept, row], key=order)]
        )


def rows(table):
    if not table.exists():
        return []
    with table.open(newline="", encoding="utf-8") as stream:
        return list(csv.reader(stream))[1:]


def short_version(package):
    """A version without what names the build."""
    return version(package).partition("+")[0]


def order(row):
    names = ["oldest", "pinned", "newest"]
    return names.index(row[0]), [int(number) for number in row[1].split(".")]


if __name__ == "__main__":
    record(sys.argv[1], sys.argv[2], sys.argv[3:])
