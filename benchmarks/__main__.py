"""Measure time, memory and agreement of this library beside its peers on this machine.

The full run takes 40 minutes on two cores and writes docs/benchmarks.md and the README's table, on a GPU
docs/benchmarks-gpu.md; the quick one takes 3 minutes and writes build/benchmarks/quick.md. Peers are installed from the
package index, into a folder of their own.
"""

import argparse
from pathlib import Path

import torch

from benchmarks import ROOT
from benchmarks.cost.libraries import METHODS
from benchmarks.cost.page import sections, write_headline
from benchmarks.cost.peers import CACHE
from benchmarks.cost.results import Results
from benchmarks.cost.run import measure_all

BUILD = ROOT / "build" / "benchmarks"


def device(name: str) -> str:
    """The name of an available device."""
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise argparse.ArgumentTypeError(f"{name!r} cannot be used: {str(error).splitlines()[0]}") from None
    return name


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="3 networks, small batches, no call of minutes")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS, help="of the quick run")
    parser.add_argument("--device", type=device, default="cpu", help="cpu or cuda")
    parser.add_argument("--peers", type=Path, default=CACHE, metavar="FOLDER", help="where they are, or go to")
    parser.add_argument("--build", type=Path, default=BUILD, metavar="FOLDER", help="for figures, and the quick page")
    parser.add_argument("--page", action="store_true", help="only write the page again, of the last full run")
    arguments = parser.parse_args(argv)
    if arguments.page and arguments.quick:
        parser.error("--page is of the full run: leave out --quick")
    if arguments.methods != METHODS and not arguments.quick:
        parser.error("--methods needs --quick: the page of a full run has all of them")
    path = arguments.build / ("quick.json" if arguments.quick else "results.json")
    if arguments.page and not path.exists():
        parser.error(f"there is no {path}: run it without --page first")
    if arguments.page:
        results = Results.read(path)
    else:
        results = measure_all(path, arguments.device, arguments.peers, arguments.methods, quick=arguments.quick)
    on_cpu = results.about["device"] == "cpu"
    page = ROOT / "docs" / ("benchmarks.md" if on_cpu else "benchmarks-gpu.md")
    text = "\n\n".join(sections(results)) + "\n"
    (path.with_suffix(".md") if arguments.quick else page).write_text(text, "utf-8")
    if arguments.quick:
        print(text)
    elif on_cpu:
        write_headline(results, ROOT / "README.md")


if __name__ == "__main__":
    main()
