"""The table of the versions tested: what a run of the tests writes into it."""

import csv
import datetime
import importlib.util
import platform
from importlib.metadata import version
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / ".ci" / "record.py"
RESULTS = """<testsuites><testsuite name="pytest">
<testcase name="a"/><testcase name="b"/>
<testcase name="c"><skipped type="pytest.skip" message="no GPU"/></testcase>
<testcase name="d"><skipped type="pytest.xfail" message="known"/></testcase>
{more}</testsuite></testsuites>"""


@pytest.fixture
def record():
    if not SCRIPT.exists():
        pytest.skip("The sources are not here.")
    spec = importlib.util.spec_from_file_location("record", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.record


@pytest.fixture
def results(tmp_path):
    path = tmp_path / "results.xml"
    path.write_text(RESULTS.format(more=""), encoding="utf-8")
    return path


def rows(table):
    with table.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_a_row_tells_the_versions_and_the_results(record, results, tmp_path):
    table = tmp_path / "tested.csv"
    record("oldest", results, [], table)
    (row,) = rows(table)
    assert row["tests"] == "2 passed, 1 skipped, 1 expected failures"
    assert row["Python"] == platform.python_version()
    assert row["torch"] == version("torch").partition("+")[0]
    assert datetime.date.fromisoformat(row["date"]) <= datetime.date.today()


def test_a_run_replaces_the_last_one_of_its_name(record, results, tmp_path):
    table = tmp_path / "tested.csv"
    for name, arguments in [("newest", []), ("oldest", []), ("newest", ["-m", "not slow"])]:
        record(name, results, arguments, table)
    oldest, newest = rows(table)
    assert (oldest["versions"], newest["versions"]) == ("oldest", "newest")
    assert newest["tests"].endswith("(-m not slow)") and oldest["tests"].endswith("failures")


@pytest.mark.parametrize("kind", ["failure", "error"])
def test_a_run_in_which_something_failed_is_not_recorded(kind, record, results, tmp_path):
    more = f'<testcase name="e"><{kind} message="wrong"/></testcase>'
    results.write_text(RESULTS.format(more=more), encoding="utf-8")
    with pytest.raises(AssertionError, match="'e'"):
        record("oldest", results, [], tmp_path / "tested.csv")
    assert not (tmp_path / "tested.csv").exists()


def test_the_docs_show_it():
    docs = Path(__file__).parents[1] / "docs"
    if not (docs / "tested.csv").exists():
        pytest.skip("No run was recorded here.")
    assert ":file: tested.csv" in (docs / "install.md").read_text(encoding="utf-8")
    names = {row["versions"] for row in rows(docs / "tested.csv")}
    assert names and names <= {"oldest", "pinned", "newest"}
