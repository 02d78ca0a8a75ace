"""No import runs upwards, and none in a circle; the top of the package holds methods, faces and old paths only."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytorch_grad_cam
from pytorch_grad_cam import METHODS

PACKAGE = Path(pytorch_grad_cam.__file__).parent
FACES = {"__init__", "__main__", "base_cam", "perturbation_cam", "dataset", "guided_backprop"}
# Rooms that a room may import, beside itself.
BELOW = {
    "_engine": {"targets"},
    "targets": {"_engine"},  # `describe` alone
    "_compat": {"_engine", "activations_and_gradients"},
    "utils": {"_engine", "_compat", "targets"},
    "metrics": {"_engine", "_compat", "utils", "targets", "base_cam"},
    "demo": {"_engine", "utils"},
}


def imports():
    """Each module and the modules of the package that it imports when it is imported."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
        nodes = [n for n in ast.parse(path.read_text("utf-8")).body if isinstance(n, ast.ImportFrom)]
        modules = {n.module for n in nodes if n.module and n.module.startswith("pytorch_grad_cam")}
        found[name] = modules - {name}  # the __init__ of a folder imports its modules
    return found


def room(module):
    return module.split(".")[1] if "." in module else ""


def test_no_import_runs_upwards():
    for module, imported in imports().items():
        allowed = BELOW.get(room(module))
        if allowed is not None:
            assert {room(other) for other in imported} <= allowed | {room(module)}, module
        if room(module) == "targets":
            assert {other for other in imported if "_engine" in other} <= {"pytorch_grad_cam._engine.describe"}


def test_no_import_runs_in_a_circle():
    tuple(TopologicalSorter(imports()).static_order())


def test_the_top_holds_methods_faces_and_old_paths():
    methods = {method.__module__.rpartition(".")[2] for method in METHODS.values()}
    for path in PACKAGE.glob("*.py"):
        first = path.read_text("utf-8").splitlines()[0]
        assert path.stem in methods | FACES or first.startswith('"""Compatibility with grad-cam 1.x'), path.name
