"""Lines of code: neither blank, nor comment, nor docstring."""

import ast
import io
import tokenize
from collections.abc import Iterator
from pathlib import Path

from benchmarks.libraries import LIBRARIES
from benchmarks.measure import ROOT
from benchmarks.peers import folder_of
from pytorch_grad_cam import METHODS

OWN = [method.__module__ for method in METHODS.values()]
ENTRIES = {
    "here": OWN,
    "grad-cam": OWN,  # has the same names
    "torchcam": ["torchcam.methods.gradient", "torchcam.methods.activation"],
    "captum": ["captum.attr._core.layer.grad_cam"],
}
"""The modules of the methods that are measured."""

WITHOUT_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
    tokenize.ENCODING,
}


def count_lines(source: str) -> int:
    """Lines that hold some of the code."""
    documented = {line for node in _docstrings(ast.parse(source)) for line in range(node.lineno, _end(node) + 1)}
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in WITHOUT_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    return len(lines - documented)


def _docstrings(tree: ast.Module) -> Iterator[ast.Expr]:
    """Strings that stand alone: docstrings, also of attributes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node


def _end(node: ast.Expr) -> int:
    return node.end_lineno or node.lineno


def files_of(package: Path) -> list[Path]:
    """All of a package."""
    return sorted(package.rglob("*.py"))


def files_needed(package: Path, modules: list[str]) -> list[Path]:
    """Files of a package that some of its modules import, one after another, also inside functions."""
    waiting, found = [_file(package, name) for name in modules], set()
    while waiting:
        path = waiting.pop()
        if path is not None and path not in found:
            found.add(path)
            waiting += [_file(package, name) for name in _imports(package, path)]
    return sorted(found)


def _file(package: Path, name: str) -> Path | None:
    """Where a module of the package is; None for a name inside a module, and for other packages."""
    first, *rest = name.split(".")
    if first != package.name:
        return None
    path = package.joinpath(*rest)
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def _imports(package: Path, path: Path) -> Iterator[str]:
    """The absolute names of what a file imports."""
    parents = path.relative_to(package.parent).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = parents[: len(parents) - node.level + 1] if node.level else ()
            module = ".".join((*start, *([node.module] if node.module else [])))
            yield from (module, *(f"{module}.{alias.name}" for alias in node.names))


def lines_in(files: list[Path]) -> int:
    """Lines of code of all the files."""
    return sum(count_lines(path.read_text("utf-8")) for path in files)


def lines_of_code(names: list[str], peers: Path) -> dict[str, dict[str, int]]:
    """Of each whole package, and of what its methods need."""
    lines = {}
    for name in names:
        if name in ENTRIES:
            library = LIBRARIES[name]
            package = (folder_of(library, peers) or ROOT) / library.package
            needed = files_needed(package, ENTRIES[name])
            lines[name] = {"whole": lines_in(files_of(package)), "needed": lines_in(needed), "files": len(needed)}
    return lines
