"""What was measured, in a file that grows as the run goes on; all figures of the page are taken from it."""

import json
import statistics
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from benchmarks.cases import Case
from benchmarks.measure import ratio_beside


class Results:
    """Answers of the workers, by measure, library and case, and tables that need no worker."""

    def __init__(self, path: Path | None = None, about: dict[str, Any] | None = None) -> None:
        self.path = path
        self.about = about or {}
        self.tables: dict[str, Any] = {}
        self.errors: dict[str, str] = {}
        self._answers: dict[tuple[str, str, Case], list[Any]] = {}

    @classmethod
    def read(cls, path: Path) -> "Results":
        """Those of an earlier run."""
        content = json.loads(path.read_text("utf-8"))
        results = cls(about=content["about"])
        results.tables, results.errors = content["tables"], content["errors"]
        for row in content["rows"]:
            results._answers[row["measure"], row["library"], Case(**row["case"])] = row["answers"]
        return results

    def write(self) -> None:
        """Put all there is so far in the file."""
        if self.path is None:
            return
        rows = [
            {"measure": measure, "library": library, "case": case.to_json(), "answers": answers}
            for (measure, library, case), answers in self._answers.items()
        ]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        content = {"about": self.about, "tables": self.tables, "errors": self.errors, "rows": rows}
        self.path.write_text(json.dumps(content, indent=1), "utf-8")

    def add(self, measure: str, library: str, case: Case, answer: Any) -> None:
        """One more answer; that to `once` is of time and of the peak."""
        if measure == "once":
            for part in ("seconds", "peak"):
                self.add(part, library, case, answer[part])
        else:
            self._answers.setdefault((measure, library, case), []).append(answer)

    def cases(self, measure: str, library: str = "here") -> Iterator[Case]:
        """What a library was measured on."""
        return (case for kind, name, case in self._answers if (kind, name) == (measure, library))

    def ratio(self, library: str, case: Case) -> float | None:
        """Time in plain forward passes, the median over rounds.

        What ran once is in those of all libraries: the few passes of one process are no measure for minutes.
        """
        ran_once = [name for measure, name, of in self._answers if (measure, of) == ("peak", case)]
        if library in ran_once:
            answers = [answer for name in ran_once for answer in self._answers["seconds", name, case]]
            passes = statistics.median(time for answer in answers for time in answer["forward"])
            return self._median("seconds", library, case, lambda answer: statistics.median(answer["call"]) / passes)
        return self._median("seconds", library, case, lambda answer: ratio_beside(answer["forward"], answer["call"]))

    def forward_seconds(self, cases: Collection[Case]) -> float | None:
        """Of the forward pass, the median over rounds of some cases in whichever library."""
        times = [
            statistics.median(answer["forward"])
            for (measure, _, case), answers in self._answers.items()
            if measure == "seconds" and case in cases
            for answer in answers
        ]
        return statistics.median(times) if times else None

    def after(self, library: str, case: Case) -> float | None:
        """Seconds after the network has run."""
        return self._median("after", library, case, float)

    def memory(self, library: str, case: Case) -> float | None:
        """Peak in those of the plain forward pass."""
        plain = self._median("memory", library, case, lambda answer: answer["forward"])
        if not plain:  # a system that does not give the peak of a part of a process
            return None
        return self._median("memory", library, case, lambda answer: answer["call"] / answer["forward"])

    def peak(self, library: str, case: Case) -> float | None:
        """Peak bytes above what was in use, of a call that ran once."""
        return self._median("peak", library, case, float)

    def difference(self, library: str, case: Case) -> float | None:
        """The largest difference of a map of a peer from the one here."""
        return self._median("maps", library, case, float)

    def _median(self, measure: str, library: str, case: Case, figure: Callable[[Any], float]) -> float | None:
        answers = self._answers.get((measure, library, case))
        return statistics.median(map(figure, answers)) if answers else None


def number(figure: float | None) -> str:
    """Two decimals, none from 20 on; a dash for what there is not."""
    if figure is None:
        return "-"
    return f"{figure:.2f}" if figure < 20 else f"{figure:,.0f}"
