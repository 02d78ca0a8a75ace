"""Every example in the documentation runs as printed."""

import doctest
import importlib
import os
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

import pytorch_grad_cam
from pytorch_grad_cam import METHODS

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
MODULES = [
    m.name for m in pkgutil.walk_packages(pytorch_grad_cam.__path__, "pytorch_grad_cam.") if "__main__" not in m.name
]


@pytest.mark.parametrize("module", MODULES)
def test_docstring_examples(module, model, images):
    import torch

    images = torch.randn(2, 3, 32, 32)
    found = doctest.testmod(importlib.import_module(module), extraglobs={"model": model, "images": images})
    assert found.failed == 0


def test_every_method_has_a_formula_a_source_and_an_example():
    for method in METHODS.values():
        assert re.search(r"https://\S+", method.__doc__), method
        assert "Differs from the paper: " in method.__doc__
        assert ">>> " in method.__doc__


def test_python_blocks_of_the_readme(tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.S)
    assert blocks
    for block in blocks:
        subprocess.run([sys.executable, "-c", block], cwd=tmp_path, check=True, timeout=120, env=ENVIRONMENT)
    assert list(tmp_path.glob("*.jpg")), "the example of the README writes a picture"


def test_the_readme_lists_every_method():
    readme = (ROOT / "README.md").read_text("utf-8")
    for method in METHODS.values():
        assert f"`{method.__name__}`" in readme


@pytest.mark.parametrize("example", sorted((ROOT / "usage_examples").glob("*.py")), ids=lambda path: path.name)
def test_usage_examples(example, tmp_path):
    arguments = ["--weights", "random"] if "--weights" in example.read_text("utf-8") else []
    command = [sys.executable, example, *arguments]
    done = subprocess.run(command, cwd=tmp_path, check=True, timeout=120, env=ENVIRONMENT, capture_output=True)
    (picture,) = tmp_path.iterdir()
    assert cv2.imread(str(picture)).std() > 10
    if arguments:
        assert picture.name in done.stdout.decode()


@pytest.mark.parametrize("method", ["layercam", "eigencam"])
@pytest.mark.parametrize("model", ["vit_b_32", "timm/deit_tiny_patch16_224", "timm/test_vit"])
def test_other_methods_and_models_of_the_vit_example(method, model, tmp_path):
    example = ROOT / "usage_examples" / "vit_example.py"
    command = [sys.executable, example, "--weights", "random", "--model", model, "--method", method, "--eigen-smooth"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=120, env=ENVIRONMENT)
    assert (tmp_path / "vit.jpg").exists()
