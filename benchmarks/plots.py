"""The plot of how cost grows."""

from pathlib import Path

from benchmarks.growth import Axis
from benchmarks.libraries import LIBRARIES
from benchmarks.results import Results

COLOURS = {"here": "#d62728", "grad-cam": "#1f77b4", "torchcam": "#2ca02c", "captum": "#9467bd"}
DASHES = {"GradCAM": "-", "EigenCAM": "--", "AblationCAM": ":"}


def plot_growth(results: Results, axes: list[Axis], path: Path) -> None:
    """A panel for each axis, both scales logarithmic, over one legend for all: inside it would lie on the lines."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, len(axes), figsize=(4 * len(axes), 4.1), layout="constrained")
    lines = {}
    for panel, axis in zip(panels, axes, strict=True):
        for name, colour in COLOURS.items():
            for method in axis.methods:
                of = axis.line(results, name, method)
                if of:
                    label = LIBRARIES[name].title + (f", {method}" if method != "GradCAM" else "")
                    style = {"color": colour, "marker": "o", "markersize": 3}
                    (lines[label],) = panel.plot(*zip(*of, strict=True), DASHES[method], **style)
        if of := axis.forward(results):
            (lines["forward pass"],) = panel.plot(*zip(*of, strict=True), color="0.6")
        panel.set(xscale="log", yscale="log", xlabel=axis.label, ylabel="seconds")
        panel.set_xticks([x for x, _ in axis.points], [f"{x:g}" for x, _ in axis.points], minor=False)
        panel.minorticks_off()
    figure.legend(lines.values(), lines, loc="outside lower center", ncols=len(lines), fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)
