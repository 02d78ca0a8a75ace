"""All metadata of the distribution `grad-cam`; the version is read from the package."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(r'^__version__ = "(.+)"$', (ROOT / "pytorch_grad_cam" / "__init__.py").read_text("utf-8"), re.M)[1]

TEST = ["pytest>=8", "pytest-xdist", "hypothesis", "psutil", "mypy", "scikit-image", "scipy", "selenium"]
TEST += ["ruff==0.17.6"]  # the version in .pre-commit-config.yaml: change both together
TEST += ["timm", "transformers"]  # whose networks are explained
BENCH = ["matplotlib", "psutil", "timm"]

setup(
    name="grad-cam",
    version=VERSION,
    description="Class Activation Maps for PyTorch: which pixels made a vision network decide",
    long_description=(ROOT / "README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    author="The pytorch_grad_cam developers",
    license="MIT",
    python_requires=">=3.10",
    packages=find_packages(include=["pytorch_grad_cam", "pytorch_grad_cam.*"]),
    package_data={
        "pytorch_grad_cam": ["py.typed"],
        "pytorch_grad_cam.cli.report": ["report.html"],
        "pytorch_grad_cam.demo": ["*.pt"],
    },
    install_requires=["torch>=2.5", "torchvision>=0.20", "numpy", "opencv-python", "ttach", "tqdm"],
    extras_require={"test": TEST, "bench": BENCH, "docs": BENCH, "metrics": ["scipy"]},
    entry_points={"console_scripts": ["grad-cam = pytorch_grad_cam.cli:main"]},
    classifiers=[
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Image Recognition",
        "Typing :: Typed",
    ],
)
