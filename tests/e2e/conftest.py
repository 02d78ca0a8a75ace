import csv
import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from pytorch_grad_cam.cli import main
from pytorch_grad_cam.cli.folder.results import COLUMNS


@pytest.fixture
def cli(tmp_path, capsys, monkeypatch):
    """Run the command line in an empty folder: exit code, standard output and error, files and rows that it wrote."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments, output="output"):
        try:
            code = main([*map(str, arguments), "--output-dir", str(output)])
        except SystemExit as stop:
            code = stop.code
        out, err = capsys.readouterr()
        folder = Path(output)
        return SimpleNamespace(
            code=code,
            out=out,
            err=err,
            folder=folder,
            files=sorted(os.listdir(folder)) if folder.is_dir() else [],
            rows=tables(folder) if (folder / "results.jsonl").exists() else None,
        )

    return run


def tables(folder):
    """Read the rows of results.jsonl, which must equal those of results.csv."""
    lines = (folder / "results.jsonl").read_text("utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    with open(folder / "results.csv", encoding="utf-8", newline="") as file:
        cells = list(csv.DictReader(file))
    assert len(rows) == len(cells)
    for row, texts in zip(rows, cells, strict=True):
        assert list(row) == list(texts) == list(COLUMNS)
        box, warnings = row["box"], row["warnings"]
        expected = {**row, "box": box and " ".join(map(str, box)), "warnings": " | ".join(warnings)}
        assert texts == {name: "" if value is None else str(value) for name, value in expected.items()}
    return rows
