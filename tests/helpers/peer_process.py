"""Run a script with grad-cam 1.5.7 in place of this library; both have the same import name."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

ROOT = str(Path(__file__).parents[2])  # for tests.helpers


def install_peer(config):
    """The folder that holds the peer, and in `needs` what it imports at once."""
    folder = config.cache.mkdir("peer-1.5.7")
    needs = folder / "needs"
    if not (folder / "pytorch_grad_cam").exists():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target"]
        # These bring their own NumPy: last on the path, so that both libraries use the same.
        subprocess.run([*pip, needs, "matplotlib", "scikit-learn"], check=True)
        subprocess.run([*pip, folder, "--no-deps", "grad-cam==1.5.7"], check=True)
    return folder


def run_peer(config, script, out):
    """The arrays that `script FOLDER NEEDS OUT` writes."""
    folder = install_peer(config)
    # One thread: for tensors this small more of them gain nothing, and lose much on a busy machine.
    environment = {**os.environ, "TQDM_DISABLE": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": ROOT}
    subprocess.run([sys.executable, script, folder, folder / "needs", out], check=True, env=environment)
    return np.load(out)
