"""The other libraries: installed into folders of their own, and each measured in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from benchmarks.cases import Case
from benchmarks.libraries import LIBRARIES, Library
from benchmarks.measure import LEAN, ROOT

# Threads of NumPy wait busily for more work, a tenth of a second by default: the next forward pass would be the slower.
QUIET = {"TQDM_DISABLE": "1", "OPENBLAS_THREAD_TIMEOUT": "16"}
CACHE = Path.home() / ".cache" / "grad-cam-peers"


def folder_of(library: Library, folder: Path) -> Path | None:
    """Where a peer is, or goes to."""
    return folder / library.requirement.replace("==", "-") if library.requirement else None


def install(folder: Path) -> list[str]:
    """Names of the libraries that can be measured; a peer that cannot be had is reported and left out."""
    found = []
    for name, library in LIBRARIES.items():
        place = folder_of(library, folder)
        try:
            if place and not (place / library.package).exists():
                _install(str(library.requirement), place, folder / "needs")
        except subprocess.CalledProcessError as error:
            print(f"without {library.title}, which pip cannot install: {_last_line(error.stderr)}")
        else:
            found.append(name)
    return found


def _install(requirement: str, place: Path, needs: Path) -> None:
    if not needs.exists():
        _pip("--target", str(needs), "matplotlib", "scikit-learn")
    _pip("--no-deps", "--target", str(place), requirement)


def _pip(*arguments: str) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *arguments], check=True, stderr=subprocess.PIPE, text=True)


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "it says nothing"


class MeasurementError(Exception):
    """A library could not do what it was asked for."""


class Process:
    """A worker, asked one thing at a time; `lean` is for figures of memory, and slower."""

    def __init__(self, name: str, device: str, peers: Path, *, lean: bool = False) -> None:
        self.name = name
        self.adapter = LIBRARIES[name]
        command = [sys.executable, "-m", "benchmarks.worker", name, "--device", device]
        if place := folder_of(self.adapter, peers):
            command += ["--folder", str(place.resolve()), "--needs", str((peers / "needs").resolve())]
        environment = {**os.environ, **QUIET, **(LEAN if lean else {})}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment
        )

    def __enter__(self) -> "Process":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind:
            self.process.kill()
        self.process.communicate()  # the end of its input ends it

    def ask(self, measure: str, case: Case, *, warm_up: bool = False, **options: Any) -> Any:
        """The answer of the worker's method of that name."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        request = {"measure": measure, "case": case.to_json(), "warm_up": warm_up, "options": options}
        try:
            print(json.dumps(request), file=self.process.stdin, flush=True)
        except BrokenPipeError:
            raise MeasurementError("its process has died") from None
        line = self.process.stdout.readline()
        if not line:
            raise MeasurementError(f"its process died with {self.process.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise MeasurementError(answer["error"])
        return answer["answer"]
