"""The plot of how cost grows."""

from pathlib import Path

from benchmarks.growth import Axis
from benchmarks.libraries import LIBRARIES
from benchmarks.results import Results

COLOURS = {"here": "#d62728", "grad-cam": "#1f77b4", "torchcam": "#2ca02c", "captum": "#9467bd"}
DASHES = {"GradCAM": "-", "EigenCAM": "--", "AblationCAM": ":"}


def plot_growth(results: Results, axes: list[Axis], path: Path) -> None:
    """A panel for each axis, both scales logarithmic."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, len(axes), figsize=(4 * len(axes), 3.8), layout="constrained")
    for panel, axis in zip(panels, axes, strict=True):
        for name, colour in COLOURS.items():
            for method in axis.methods:
                of = axis.line(results, name, method)
                label = LIBRARIES[name].title + (f", {method}" if len(axis.methods) > 1 else "")
                if of:
                    panel.plot(
                        *zip(*of, strict=True), DASHES[method], color=colour, marker="o", markersize=3, label=label
                    )
        panel.plot(*zip(*axis.forward(results), strict=True), color="0.6", label="forward pass")
        panel.set(xscale="log", yscale="log", xlabel=axis.label, ylabel="seconds")
        panel.set_xticks([x for x, _ in axis.points], [f"{x:g}" for x, _ in axis.points], minor=False)
        panel.minorticks_off()
        panel.legend(fontsize=7)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)
