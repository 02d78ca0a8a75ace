"""Each method written again from its paper: loops in NumPy float64, importing nothing from the package.

Each takes the activations (C, *S) of one image and the gradients (C, *S) of one score, and gives the raw map (*S).
"""

import numpy as np


def gradcam(activations, gradients):
    """Selvaraju et al., eq. 1 and 2, before the ReLU."""
    result = np.zeros(activations.shape[1:])
    positions = activations[0].size
    for channel, gradient in zip(activations, gradients, strict=True):
        weight = 0.0
        for value in gradient.flat:
            weight += value / positions
        result += weight * channel
    return result


def eigencam(activations, gradients):
    """Muhammad and Yeasin: the projection on the first right singular vector, channels centred."""
    return _first_component(activations)


def _first_component(weighted):
    channels = len(weighted)
    rows = np.array([[weighted[c].flat[p] for c in range(channels)] for p in range(weighted[0].size)])
    for c in range(channels):
        rows[:, c] -= rows[:, c].mean()
    _, _, vectors = np.linalg.svd(rows)
    projection = np.array([sum(row[c] * vectors[0, c] for c in range(channels)) for row in rows])
    agreement = sum(value * row.sum() for value, row in zip(projection, rows, strict=True))
    if abs(agreement) < 1e-8 * sum(abs(value * row).sum() for value, row in zip(projection, rows, strict=True)):
        agreement = sum(value**3 for value in projection)
    if agreement < 0:
        projection = -projection
    return projection.reshape(weighted.shape[1:])
