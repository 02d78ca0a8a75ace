"""Run what proves that the library never lies and never leaves a trace, and write docs/reliability.md from that run.

`python tests/helpers/reliability.py`, some ten minutes; where a test fails, nothing is written.
"""

import ast
import re
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest
import torch

TESTS = Path(__file__).parents[1]
DOCUMENT = TESTS.parent / "docs" / "reliability.md"
FILES = {
    "Traps": "methods/test_traps.py",
    "Formulas": "methods/test_methods.py",
    "Blank maps": "engine/test_blank_maps.py",
    "Inputs that do not suit the model": "engine/test_input_errors.py",
    "State": "engine/test_side_effects.py",
    "Threads": "engine/test_threads.py",
    "Precision and memory layout": "methods/test_precision.py",
    "Waiting for a GPU": "engine/test_gpu_synchronization.py",
    "Soak": "engine/test_soak.py",
    "Hostile files": "cli/test_hostile_files.py",
    "Random networks": "methods/test_fuzz.py",
}


class Results:
    """What became of each test: (file, test) -> how many cases passed, and what they noted."""

    def __init__(self):
        self.passed = Counter()
        self.noted = defaultdict(dict)

    def pytest_runtest_logreport(self, report):
        if report.when == "call" and report.passed:
            file, test = report.nodeid.split("::", 1)
            key = file.removeprefix("tests/"), test.split("[")[0]
            self.passed[key] += 1
            self.noted[key].update(report.user_properties)


def said(file):
    """The promise of a test file, and those of its tests: their names, or the docstrings where there are any."""
    tree = ast.parse((TESTS / file).read_text("utf-8"))
    tests = {
        node.name: ast.get_docstring(node) or re.sub("^test_", "", node.name).replace("_", " ")
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }
    return ast.get_docstring(tree).split("\n\n")[0], tests


def section(title, file, results):
    promise, tests = said(file)
    rows = []
    for test, meaning in tests.items():
        meaning = " ".join(meaning.split()).rstrip(".")
        rows.append(f"| {meaning[0].upper() + meaning[1:]} | `{test}` | {results.passed[file, test]} |")
    figures = "".join(
        f"\n- {name}: {figure}"
        for (of, _), noted in results.noted.items()
        if of == file
        for name, figure in noted.items()
    )
    return f"""## {title}

`tests/{file}`: {promise}

| promise | test | cases |
|---|---|---|
{chr(10).join(rows)}
{figures}"""


def main():
    results = Results()
    files = [str(TESTS / file) for file in FILES.values()]
    code = pytest.main(["-q", "-m", "", "-p", "no:cacheprovider", "-W", "ignore", *files], plugins=[results])
    if code:
        return int(code)
    sections = "\n\n".join(section(title, file, results).rstrip() for title, file in FILES.items())
    DOCUMENT.write_text(
        f"""# It never lies and never leaves a trace

Written by `python tests/helpers/reliability.py` from one run: {sum(results.passed.values()):,} cases, none failed,
with torch {torch.__version__.split("+")[0]} and Python {sys.version.split()[0]}. Every promise below is a test; the
figures are what the tests noted. A test that this machine had to skip has 0 cases.

{sections}
""",
        "utf-8",
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
