"""The other libraries: installed into folders of their own, and each measured in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks import ROOT
from benchmarks.cost.case import Case
from benchmarks.cost.libraries import LIBRARIES, Library
from benchmarks.cost.measure import LEAN

# Threads of NumPy wait busily for more work, a tenth of a second by default: the next forward pass would be the slower.
QUIET = {"TQDM_DISABLE": "1", "OPENBLAS_THREAD_TIMEOUT": "16"}
CACHE = Path.home() / ".cache" / "grad-cam-peers"


def folder_of(library: Library, folder: Path) -> Path | None:
    """Where a peer is, or goes to."""
    return folder / library.requirement.replace("==", "-") if library.requirement else None


def install(folder: Path) -> list[str]:
    """Names of the libraries that can be measured; a peer that cannot be installed is reported and left out."""
    names = []
    for name, library in LIBRARIES.items():
        place = folder_of(library, folder)
        try:
            if place and not (place / library.package).exists():
                if not (folder / "needs").exists():
                    _install(folder / "needs", "matplotlib", "scikit-learn")
                _install(place, "--no-deps", str(library.requirement))
            names.append(name)
        except subprocess.CalledProcessError as error:
            print(f"without {library.title}, which pip cannot install: {error.stderr.strip()}")
    return names


def _install(folder: Path, *arguments: str) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder), *arguments]
    subprocess.run(pip, check=True, stderr=subprocess.PIPE, text=True)


class MeasurementError(Exception):
    """A library could not do what it was asked for."""


class Process:
    """A worker that answers one request at a time; `lean` is for figures of memory, and slower."""

    def __init__(self, name: str, device: str, peers: Path, *, lean: bool = False) -> None:
        self.name = name
        self.library = LIBRARIES[name]
        command = [sys.executable, "-m", "benchmarks.cost.worker", name, "--device", device]
        if place := folder_of(self.library, peers):
            command += ["--folder", str(place.resolve()), "--needs", str((peers / "needs").resolve())]
        environment = {**os.environ, **QUIET, **(LEAN if lean else {})}
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT, env=environment)

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind:
            self.process.kill()
        self.process.communicate()  # the end of its input ends it

    def ask(self, measure: str, case: Case) -> Any:
        """The answer of the worker's method of that name."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        request = {"measure": measure, "case": vars(case)}
        try:
            print(json.dumps(request), file=self.process.stdin, flush=True)
            answer = json.loads(self.process.stdout.readline())
        except (BrokenPipeError, json.JSONDecodeError):
            raise MeasurementError(f"its process died with {self.process.wait()}") from None
        if "error" in answer:
            raise MeasurementError(answer["error"])
        return answer["answer"]
