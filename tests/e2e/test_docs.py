"""Every example in the documentation runs as printed."""

import doctest
import importlib
import os
import pkgutil
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data
from PIL import Image

import pytorch_grad_cam
from pytorch_grad_cam import METHODS

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
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
    """One after the other, as they go on from the first."""
    blocks = re.findall(r"```python\n(.*?)```", README, re.S)
    assert len(blocks) > 5
    subprocess.run([sys.executable, "-c", "\n".join(blocks)], cwd=tmp_path, check=True, timeout=120, env=ENVIRONMENT)
    assert [path.name for path in tmp_path.iterdir()] == ["explained.jpg"]


def test_the_first_block_of_the_readme_explains_a_photograph(tmp_path):
    """As printed, but that weights cannot be downloaded here: the network has random ones."""
    (block,) = re.findall(r"```py\n(.*?)```", README, re.S)
    Image.fromarray(skimage.data.chelsea()).save(tmp_path / "cat.jpg")
    offline = "import functools, torch, torchvision.models as m\ntorch.manual_seed(0)\n"
    offline += "build = m.resnet50\nm.resnet50 = lambda weights: build(weights=None)\n"
    subprocess.run([sys.executable, "-c", offline + block], cwd=tmp_path, check=True, timeout=120, env=ENVIRONMENT)
    assert np.asarray(Image.open(tmp_path / "explained_cat.jpg")).shape == (224, 224, 3)


def test_shell_lines_of_the_readme(tmp_path):
    """As printed, but that pretrained weights cannot be downloaded here."""
    block, of_folders = re.findall(r"```\n(python cam.py.*?)```", README, re.S)
    (tmp_path / "photos" / "cats").mkdir(parents=True)
    for name in ("cat.jpg", "photos/a.png", "photos/cats/b.png"):
        shutil.copy(ROOT / "examples" / "both.png", tmp_path / name)
    for line in (block + of_folders).splitlines():
        launcher, *arguments = shlex.split(line)
        script = arguments.index("cam.py")
        options, arguments = arguments[:script], arguments[script + 1 :]
        if launcher == "torchrun":
            options = ["-m", "torch.distributed.run", "--standalone", *options]
        offline = [] if "--help" in arguments else ["--weights", "random"]
        if "--model" not in arguments and offline:
            offline += ["--model", "demo"]
        command = [sys.executable, *options, ROOT / "cam.py", *arguments, *offline]
        done = subprocess.run(command, cwd=tmp_path, check=True, timeout=120, env=ENVIRONMENT, capture_output=True)
        assert done.stdout
    assert len(list((tmp_path / "output").glob("*.jpg"))) == 3 + 2 * 3 + 2
    assert (tmp_path / "output" / "report.html").exists()


def test_the_scores_of_the_readme_are_those_of_the_laboratory():
    page = (ROOT / "docs" / "quality.md").read_text("utf-8")
    measured = {}
    for section in page.split("\n## ")[1:4]:
        for name, box in re.findall(r"^\| (\w+) \| plain \| \d+ \| ([\d.]+) ", section, re.M):
            measured.setdefault(name, []).append(float(box))
    for method in METHODS.values():
        (row,) = re.findall(rf"^\| `{method.__name__}` \|.*$", README, re.M)
        scores = [float(score) for score in re.findall(r"(\d+) %", row)]
        assert len(scores) == 3
        assert np.allclose(scores, measured[method.__name__], atol=0.51)


def test_what_the_readme_links_to_is_there():
    targets = re.findall(r"\]\(([^)#]+)\)", README)
    assert len(targets) > 10
    for target in targets:
        assert target.startswith("https://") or (ROOT / target).exists(), target


def test_the_pictures_of_the_readme_are_those_that_the_gallery_makes(tmp_path):
    gallery = ROOT / "tools" / "gallery.py"
    command = [sys.executable, gallery, "--output-dir", tmp_path]
    subprocess.run(command, check=True, timeout=300, env=ENVIRONMENT, capture_output=True)
    for picture in re.findall(r"\(examples/(.*?)\)", README):
        made, shown = (cv2.imread(str(folder / picture)).astype(float) for folder in (tmp_path, ROOT / "examples"))
        assert made.shape == shown.shape
        assert abs(made - shown).mean() < 1, picture  # other machines round otherwise


def test_the_readme_lists_every_method():
    for method in METHODS.values():
        assert f"`{method.__name__}`" in README


@pytest.mark.parametrize("example", sorted((ROOT / "usage_examples").glob("*_example.py")), ids=lambda path: path.name)
def test_usage_examples(example, tmp_path, offline):
    """Offline, with the bundled networks."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, example]
    options = {"cwd": tmp_path, "env": environment, "capture_output": True, "text": True, "timeout": 120}
    done = subprocess.run(command, check=True, **options)
    (image,) = (tmp_path / "output").iterdir()
    assert cv2.imread(str(image)).std() > 10
    assert f"output/{image.name}" in done.stdout
    assert "Warning" not in done.stderr
    if example.name != "dataset_example.py":
        assert "using the bundled" in done.stdout
        failed = subprocess.run([*command, "none.jpg"], **options)
        assert failed.returncode == 1
        assert failed.stderr.splitlines()[-1].startswith("cannot read none.jpg")
        assert "Traceback" not in failed.stderr
