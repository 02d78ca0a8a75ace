"""Explain an image from the shell: `python cam.py --help`."""

import sys

from pytorch_grad_cam.cli import main

if __name__ == "__main__":
    sys.exit(main())
