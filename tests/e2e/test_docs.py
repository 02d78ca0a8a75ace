"""Every example in the documentation runs as printed."""

import doctest
import importlib
import inspect
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
from pytorch_grad_cam import METHODS, BaseCAM

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
MODULES = [
    m.name for m in pkgutil.walk_packages(pytorch_grad_cam.__path__, "pytorch_grad_cam.") if "__main__" not in m.name
]


@pytest.mark.parametrize("module", MODULES)
def test_docstring_examples(module, model, images):
    import torch

    images = torch.randn(2, 3, 32, 32)
    results = doctest.testmod(importlib.import_module(module), extraglobs={"model": model, "images": images})
    assert results.failed == 0


def test_every_method_has_a_formula_a_source_and_an_example():
    for method in METHODS.values():
        assert re.search(r"https://\S+", method.__doc__), method
        assert "Differs from the paper: " in method.__doc__
        assert ">>> " in method.__doc__


def test_python_blocks_of_the_readme(tmp_path):
    """One after the other: each continues the ones before it."""
    blocks = re.findall(r"```python\n(.*?)```", README, re.S)
    assert len(blocks) > 5
    subprocess.run([sys.executable, "-c", "\n".join(blocks)], cwd=tmp_path, check=True, timeout=120, env=ENVIRONMENT)
    assert [path.name for path in tmp_path.iterdir()] == ["explained.jpg"]


def test_python_blocks_of_contributing(tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", CONTRIBUTING, re.S)
    assert len(blocks) == 3
    check = "assert drop_without_the_map(model, images, maps).shape == (1,) and maps.max() == 1\n"
    script = "\n".join([*blocks, check])
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True, timeout=120, env=ENVIRONMENT)


def test_the_steps_and_folders_of_contributing():
    """Each step has the arguments that the page gives it; each file and folder of the tree is there."""
    steps = re.findall(r"^\| `(\w+)\((.*?)\)` \|", CONTRIBUTING, re.M)
    assert len(steps) == 6
    for name, arguments in steps:
        assert list(inspect.signature(getattr(BaseCAM, name)).parameters) == ["self", *arguments.split(", ")]
    attributes = re.findall(r"^\| `(\w+)` \|", CONTRIBUTING, re.M)
    assert attributes == ["derivatives", "needs_targets", "needs_normalized_activations"]
    assert all(hasattr(BaseCAM, name) for name in attributes)

    tree = re.search(r"## Where things live\n\n(.*?)\n\n", CONTRIBUTING, re.S)[1]
    folder = ROOT
    for indent, names in re.findall(r"^    ( *)([^\s,]+(?:, [^\s,]+)*)(?: |$)", tree, re.M):
        folder = folder if indent else ROOT
        for name in names.split(", "):
            assert (folder / name).exists(), name
        folder = folder if indent else ROOT / names
    assert folder == ROOT / "docs"


def test_the_first_block_of_the_readme_explains_a_photograph(tmp_path):
    """Run as printed, but with seeded random weights in place of the download."""
    (block,) = re.findall(r"```py\n(.*?)```", README, re.S)
    assert README.index(block) < README.index("```python")
    Image.fromarray(skimage.data.chelsea()).save(tmp_path / "cat.jpg")
    offline = "import torch, torchvision.models as m\ntorch.manual_seed(0)\n"
    offline += "build = m.resnet50\nm.resnet50 = lambda weights: build(weights=None)\n"
    command = [sys.executable, "-W", "error::UserWarning", "-c", offline + block]  # a blank map warns
    subprocess.run(command, cwd=tmp_path, check=True, timeout=120, env=ENVIRONMENT)
    overlay = Image.open(tmp_path / "explained_cat.jpg")
    photograph = Image.open(tmp_path / "cat.jpg").resize((224, 224))
    assert overlay.size == photograph.size
    assert abs(np.float32(overlay) - np.float32(photograph)).mean() > 10


def test_the_two_commands_of_the_readme():
    """`.ci/run` runs the first shell block, and `cam.py` writes the file to open."""
    assert re.findall(r"^```sh\n(.*?)```", README, re.S | re.M)[0].splitlines() == [
        "pip install . && python cam.py",
        'pip install ".[test]" && pytest -n 2',
    ]
    assert "open `output/gradcam_cam.jpg`" in " ".join(README.split())


def test_the_rows_of_the_targets_table():
    """Each spelling that the table gives has the shape that it gives, for 300 classes and two images."""
    import torch

    from pytorch_grad_cam import GradCAM, targets

    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    network.append(torch.nn.Linear(4, 300))
    cam = GradCAM(network, [network[0]])
    table = re.search(r"## Targets\n(.*?)\n## ", README, re.S)[1]
    rows = re.findall(r"^\| `([^`]*)`.*\| \((.*?)\) \|$", table, re.M)
    assert len(rows) == 10
    for spelling, shape in rows:
        if "Segmentation" in spelling or "RCNN" in spelling or "Binary" in spelling:  # of other networks
            assert hasattr(targets, spelling.split("(")[0])
            continue
        images = torch.randn(1 if spelling == "[[281, 285]]" else 2, 3, 8, 8)
        sizes = {"B": len(images), "H": 8, "W": 8}
        expected = tuple(sizes.get(size) or int(size) for size in shape.split(", "))
        assert cam(images, eval(spelling, vars(targets).copy())).shape == expected, spelling


def test_shell_lines_of_the_readme(tmp_path):
    """Run as printed, but with random weights in place of the download."""
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


def test_the_images_of_the_readme_are_those_that_the_gallery_makes(tmp_path):
    gallery = ROOT / "tools" / "gallery.py"
    command = [sys.executable, gallery, "--output-dir", tmp_path]
    subprocess.run(command, check=True, timeout=300, env=ENVIRONMENT, capture_output=True)
    for name in re.findall(r"\(examples/(.*?)\)", README):
        made, shown = (cv2.imread(str(folder / name)).astype(float) for folder in (tmp_path, ROOT / "examples"))
        assert made.shape == shown.shape
        assert abs(made - shown).mean() < 1, name  # other machines round otherwise


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
