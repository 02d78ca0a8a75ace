"""Measure this library beside its peers on this machine: time, memory, agreement, growth, imports and lines.

The full run takes at most 40 minutes on two cores and writes docs/benchmarks.md and its plot, on a GPU
docs/benchmarks-gpu.md; the quick one takes 3 minutes and writes build/benchmarks/quick.md. Peers are installed from the
package index, into a folder of their own.
"""

import argparse
from pathlib import Path

import torch

from benchmarks.measure import ROOT
from benchmarks.peers import CACHE

BUILD = ROOT / "build" / "benchmarks"


def device(name: str) -> str:
    """The name of a device that there is."""
    try:
        if torch.device(name).type not in ("cpu", "cuda"):
            raise RuntimeError("it is neither cpu nor cuda")
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise argparse.ArgumentTypeError(f"{name!r} cannot be used: {str(error).splitlines()[0]}") from None
    return name


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="3 networks, small batches, no call of minutes")
    parser.add_argument("--device", type=device, default="cpu", help="cpu or cuda")
    parser.add_argument("--peers", type=Path, default=CACHE, metavar="FOLDER", help="where they are, or go to")
    parser.add_argument("--page", action="store_true", help="only write the page again, of the last full run")
    arguments = parser.parse_args(argv)
    if arguments.page and arguments.quick:
        parser.error("--page is of the full run: leave out --quick")
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        parser.error('plots need matplotlib: pip install ".[bench]"')

    from benchmarks.page import write_headline, write_page
    from benchmarks.results import Results
    from benchmarks.run import measure_all

    path = BUILD / ("quick.json" if arguments.quick else "results.json")
    if arguments.page and not path.exists():
        parser.error(f"there is no {path.relative_to(ROOT)}: run it without --page first")
    if arguments.page:
        results = Results.read(path)
    else:
        results = measure_all(path, arguments.device, arguments.peers, quick=arguments.quick)
    if arguments.quick:
        write_page(results, BUILD / "quick.md")
        print((BUILD / "quick.md").read_text("utf-8"))
    else:
        on_cpu = results.about["device"] == "cpu"
        write_page(results, ROOT / "docs" / ("benchmarks.md" if on_cpu else "benchmarks-gpu.md"))
        if on_cpu:
            write_headline(results, ROOT / "README.md")


if __name__ == "__main__":
    main()
