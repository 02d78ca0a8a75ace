"""The answers of the workers, in a file that grows as the run goes on; all figures of the page are taken from it."""

import json
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.cost.case import Case
from benchmarks.cost.measure import ratio_beside


class Results:
    """Answers of the workers, by measure, library and case."""

    def __init__(self, path: Path | None = None, about: dict[str, Any] | None = None) -> None:
        self.path = path
        self.about = about or {}
        self.errors: dict[str, str] = {}
        self._answers: dict[tuple[str, str, Case], list[Any]] = {}

    @classmethod
    def read(cls, path: Path) -> "Results":
        """Those of an earlier run."""
        content = json.loads(path.read_text("utf-8"))
        results = cls(about=content["about"])
        results.errors = content["errors"]
        for measure, library, case, answers in content["rows"]:
            results._answers[measure, library, Case(**case)] = answers
        return results

    def write(self) -> None:
        """Put all answers so far in the file."""
        assert self.path is not None
        rows = [(measure, library, vars(case), answers) for (measure, library, case), answers in self._answers.items()]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        content = {"about": self.about, "errors": self.errors, "rows": rows}
        self.path.write_text(json.dumps(content, indent=1), "utf-8")

    def add(self, measure: str, library: str, case: Case, answer: Any) -> None:
        """Add an answer; that to `once` is of time and of the peak."""
        if measure == "once":
            for part in ("seconds", "peak"):
                self.add(part, library, case, answer[part])
        else:
            self._answers.setdefault((measure, library, case), []).append(answer)

    def cases(self, measure: str, library: str = "here") -> Iterator[Case]:
        """The cases on which a library was measured."""
        return (case for kind, name, case in self._answers if (kind, name) == (measure, library))

    def ratio(self, library: str, case: Case) -> float | None:
        """Time in plain forward passes, the median over rounds."""
        return self._median("seconds", library, case, ratio_beside)

    def forward_seconds(self, case: Case) -> float | None:
        """Median of the forward pass over all libraries and rounds."""
        keys = [key for key in self._answers if (key[0], key[2]) == ("seconds", case)]
        times = [statistics.median(answer["forward"]) for key in keys for answer in self._answers[key]]
        return statistics.median(times) if times else None

    def memory(self, library: str, case: Case) -> float | None:
        """Peak in those of the plain forward pass."""
        if not self._median("memory", library, case, lambda answer: answer["forward"]):
            return None  # a system that does not give the peak of a part of a process
        return self._median("memory", library, case, lambda answer: answer["call"] / answer["forward"])

    def peak(self, library: str, case: Case) -> float | None:
        """Peak MiB above what was in use, of a call that ran once."""
        return self._median("peak", library, case, lambda peak: peak / 2**20)

    def difference(self, library: str, case: Case) -> float | None:
        """The largest difference of a map of a peer from the one here."""
        return self._median("maps", library, case, float)

    def _median(self, measure: str, library: str, case: Case, figure: Callable[[Any], float]) -> float | None:
        answers = self._answers.get((measure, library, case))
        return statistics.median(map(figure, answers)) if answers else None


def number(figure: float | None) -> str:
    """Two decimals, none from 20 on; a dash for what was not measured."""
    if figure is None:
        return "-"
    return f"{figure:.2f}" if figure < 20 else f"{figure:,.0f}"
