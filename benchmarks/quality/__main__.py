"""Measure the quality of the maps: writes docs/quality.md and the README's scores.

    python -m benchmarks.quality                                    # all of it: hours on two cores
    python -m benchmarks.quality --networks vit --methods gradcam   # a part; the page has all that is measured so far

Each method explains both objects of held-out scenes of the demo world, by each demo network, plain and smoothed.
Figures lie in build/quality/, a file for each row and 50 scenes, and are not measured again: after a change of methods,
or of the layers that they take, delete that folder.
"""

import argparse
import time
import warnings
from pathlib import Path

from benchmarks import ROOT
from benchmarks.quality.page import write_page, write_readme
from benchmarks.quality.run import CHUNK, SETTINGS, parts, save, sweep, work
from pytorch_grad_cam import METHODS, BlankMapWarning
from pytorch_grad_cam.demo.network import NETWORKS


def main(argv: list[str] | None = None) -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__, formatter_class=raw)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--scenes", type=int, default=500, help=f"of each row; {CHUNK} are done at a time")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="of figures and page, instead of build and docs")
    arguments = parser.parse_args(argv)
    results = (arguments.output or ROOT / "build" / "quality") / SETTINGS
    results.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("ignore", BlankMapWarning)
    for network in arguments.networks:
        path = results / f"{network} sweep.npz"
        if not path.exists():
            save(path, sweep(network, arguments.scenes // 5))
    for row, first in parts(arguments.networks, arguments.methods, arguments.scenes):
        path = results / f"{' '.join(row)} {first:04}.npz"
        if not path.exists():
            start = time.perf_counter()
            save(path, work(row, first))
            print(f"{path.stem}: {time.perf_counter() - start:.0f} s", flush=True)
    write_page(results, (arguments.output or ROOT / "docs") / "quality.md")
    if not arguments.output:
        write_readme(results, ROOT / "README.md")


if __name__ == "__main__":
    main()
