"""The commands that read a case: what they print, where, and the code they end with."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from leakmatch.case.store import Case
from leakmatch.case.tables import rows
from leakmatch.cli import export_cmd, report_cmd, verify_cmd
from leakmatch.errors import INCOMPLETE, IntegrityError, StorageError, UsageError
from leakmatch.records import Outcome


@pytest.fixture
def run():
    """Runs one of the three commands, with errors as exceptions where they are the program's own."""
    app = typer.Typer()
    app.command("export")(export_cmd.export)
    app.command("report")(report_cmd.report)
    app.command("verify")(verify_cmd.verify)

    def invoke(*arguments: object):
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return invoke


@pytest.fixture
def complete(tmp_path, kit) -> Path:
    """A finished case in which everything was looked at."""
    w = kit.Writer(tmp_path / "complete.case", ["x"], [(0, "x.jpg")])
    w.plain(0, w.roots[0], Outcome.NO_FACE)
    w.close()
    return tmp_path / "complete.case"


class TestExport:
    """``leakmatch export``"""

    def test_json_lines_on_standard_output(self, run, sample, case):
        result = run("export", sample, "candidates")
        assert [json.loads(line) for line in result.stdout.splitlines()] == list(rows(case, "candidates"))
        assert result.stderr == ""
        assert result.exit_code == 0

    def test_all_adds_the_weak_and_x_decides_anew(self, run, sample):
        assert len(run("export", sample, "candidates", "--all").stdout.splitlines()) == 11
        strict = run("export", sample, "candidates", "--expected-false", "1e-7").stdout.splitlines()
        assert {json.loads(line)["decision"] for line in strict} == {"match"}

    def test_a_looser_x_warns_of_weak_ones_that_are_missing(self, run, sample):
        assert "some are missing" in run("export", sample, "candidates", "--all", "--expected-false", "5").stderr
        assert "missing" not in run("export", sample, "candidates", "--expected-false", "5").stderr

    def test_a_file_of_a_format(self, run, sample, tmp_path):
        run("export", sample, "items", "--format", "csv", "-o", tmp_path / "items.csv")
        with (tmp_path / "items.csv").open(encoding="utf-8", newline="") as file:
            assert len(list(csv.DictReader(file))) == 12
        run("export", sample, "faces", "--format", "parquet", "-o", tmp_path / "faces.parquet")
        assert (tmp_path / "faces.parquet").read_bytes().startswith(b"PAR1")

    def test_an_unfinished_case_is_exported_with_a_warning(self, run, tmp_path, kit):
        path = kit.write_sample(tmp_path / "u.case", finished=False)
        result = run("export", path, "items")
        assert len(result.stdout.splitlines()) == 12
        assert "has not finished" in result.stderr

    @pytest.mark.parametrize(
        "arguments",
        [["people"], ["items", "--format", "xls"], ["items", "--all"], ["candidates", "--expected-false", "11"]],
    )
    def test_what_cannot_be_is_a_usage_error(self, run, sample, arguments):
        with pytest.raises(UsageError):
            run("export", sample, *arguments)

    def test_no_case_is_a_usage_error(self, run, tmp_path):
        with pytest.raises(UsageError, match="no such case"):
            run("export", tmp_path / "no.case", "items")

    def test_the_case_itself_is_not_overwritten(self, run, sample):
        before = sample.read_bytes()
        with pytest.raises(UsageError, match="not overwritten"):
            run("export", sample, "items", "-o", sample)
        assert sample.read_bytes() == before

    def test_a_full_disk_is_a_storage_error(self, run, sample):
        with pytest.raises(StorageError):
            run("export", sample, "items", "-o", "/dev/full")

    def test_head_ends_it_quietly(self, tmp_path, kit):
        """As a whole process, with more output than a pipe holds."""
        w = kit.Writer(tmp_path / "h.case", ["x.zip"], [(0, "/x.zip")])
        for i in range(3000):
            w.plain(0, w.roots[0].child("zip", f"{i}", b"%d" % i), Outcome.NOT_IMAGE)
        w.close()
        code = "import typer; from leakmatch.cli.export_cmd import export\n"
        code += "app = typer.Typer(); app.command()(export); app()"
        for format in ("jsonl", "csv"):
            with subprocess.Popen(
                [sys.executable, "-c", code, tmp_path / "h.case", "items", "--format", format],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            ) as process:
                process.stdout.readline()
                process.stdout.close()
                told = process.stderr.read().decode()
            assert told == ""
            assert process.returncode == 0


class TestReport:
    """``leakmatch report``"""

    def test_one_file_is_written(self, run, sample, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        result = run("report", sample)
        assert (tmp_path / "report.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
        assert result.stdout == ""
        assert result.exit_code == 0

    def test_a_report_is_replaced_and_a_case_is_not(self, run, sample, tmp_path):
        target = tmp_path / "r.html"
        target.write_text("old")
        run("report", sample, "-o", target, "--expected-false", "0.5")
        assert "Decided anew" in target.read_text(encoding="utf-8")
        with pytest.raises(UsageError, match="not overwritten"):
            run("report", sample, "-o", sample)

    def test_an_unfinished_case_is_reported_with_a_warning(self, run, tmp_path, kit):
        path = kit.write_sample(tmp_path / "u.case", finished=False)
        assert "has not finished" in run("report", path, "-o", tmp_path / "r.html").stderr

    def test_a_damaged_case_gives_no_report(self, run, sample, tmp_path):
        sample.write_bytes(sample.read_bytes()[:-5000])
        with pytest.raises(IntegrityError):
            run("report", sample, "-o", tmp_path / "r.html")
        assert not (tmp_path / "r.html").exists()


class TestVerify:
    """``leakmatch verify``"""

    def test_a_complete_case(self, run, complete):
        result = run("verify", complete)
        with Case.open(complete) as case:
            assert case.digest in result.stdout
        for words in ("intact", "1 items, each with exactly one outcome", "1 of 1 read to their end", "scan: finished"):
            assert words in result.stdout
        assert result.exit_code == 0

    def test_an_incomplete_case(self, run, sample):
        result = run("verify", sample)
        assert "NOT COMPLETE: 2 items could not be looked at in full" in result.stdout
        assert "1 unreadable" in result.stdout
        assert result.exit_code == INCOMPLETE

    def test_an_unfinished_case(self, run, tmp_path, kit):
        result = run("verify", kit.write_sample(tmp_path / "u.case", finished=False))
        assert "NOT FINISHED" in result.stdout
        assert "0 of 3 read to their end" in result.stdout
        assert result.exit_code == INCOMPLETE

    def test_a_changed_case(self, run, sample, kit):
        with Case.open(sample) as case:
            path = next(iter(rows(case, "items")))["path"]
        data = sample.read_bytes()
        sample.write_bytes(data.replace(path.encode(), path.replace("s", "z").encode()))
        with pytest.raises(IntegrityError):
            run("verify", sample)


@pytest.mark.parametrize("command", ["export", "report", "verify"])
def test_help_teaches_with_an_example(run, command):
    result = run(command, "--help")
    assert f"Example: leakmatch {command}" in " ".join(result.stdout.split())


def test_the_commands_are_light_to_import():
    """``leakmatch --help`` loads every command module."""
    code = "import sys, leakmatch.cli.export_cmd, leakmatch.cli.report_cmd, leakmatch.cli.verify_cmd\n"
    code += "print([m for m in ('numpy', 'pyarrow', 'pandas', 'cv2', 'onnxruntime') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
    assert io.StringIO(result.stderr).read() == ""
