import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from pytorch_grad_cam.cli import main


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
