"""Each method written again from its paper: loops in NumPy float64, importing nothing from the package.

Each is named after its class and gives the raw map (*S), before the ReLU, of one image and one score. It is told:

    activations  (C, *S)
    gradients    (C, *S), of the score
    rest         a function from activations to the score
    picture      (C_in, *S_in)
    score        a function from a picture to the score
"""

import numpy as np


def gradcam(image):
    """Selvaraju et al., eq. 1 and 2."""
    result = np.zeros(image.activations.shape[1:])
    for channel, gradient in zip(image.activations, image.gradients, strict=True):
        weight = 0.0
        for value in gradient.flat:
            weight += value / gradient.size
        result += weight * channel
    return result


def gradcamplusplus(image):
    """Chattopadhyay et al., eq. 19 and 7."""
    result = np.zeros(image.activations.shape[1:])
    for channel, gradient in zip(image.activations, image.gradients, strict=True):
        weight = 0.0
        for g in gradient.flat:
            if g > 0:
                weight += g**2 / (2 * g**2 + channel.sum() * g**3) * g
        result += weight * channel
    return result


def xgradcam(image):
    """Fu et al., eq. 8."""
    result = np.zeros(image.activations.shape[1:])
    for channel, gradient in zip(image.activations, image.gradients, strict=True):
        weight = 0.0
        for a, g in zip(channel.flat, gradient.flat, strict=True):
            weight += a / channel.sum() * g
        result += weight * channel
    return result


def layercam(image):
    """Jiang et al., eq. 5 and 6."""
    result = np.zeros(image.activations.shape[1:])
    for channel, gradient in zip(image.activations, image.gradients, strict=True):
        for place in np.ndindex(channel.shape):
            result[place] += max(gradient[place], 0) * channel[place]
    return result


def eigencam(image):
    """Muhammad and Yeasin: the projection on the first right singular vector, channels centred."""
    return first_component(image.activations)


def eigengradcam(image):
    """The same of activation times gradient."""
    return first_component(image.activations * image.gradients)


def ablationcam(image):
    """Desai and Ramaswamy, eq. 5, with |y|."""
    result = np.zeros(image.activations.shape[1:])
    score = image.rest(image.activations)
    for c, channel in enumerate(image.activations):
        silenced = image.activations.copy()
        silenced[c] = 0
        result += (score - image.rest(silenced)) / abs(score) * channel
    return result


def scorecam(image):
    """Wang et al., algorithm 1."""
    exponentials = []
    for channel in image.activations:
        mask = upsample(channel, image.picture.shape[1:])
        spread = mask.max() - mask.min()
        mask = (mask - mask.min()) / spread if spread > 0 else np.zeros_like(mask)
        exponentials.append(np.exp(image.score(image.picture * mask)))
    result = np.zeros(image.activations.shape[1:])
    for exponential, channel in zip(exponentials, image.activations, strict=True):
        result += exponential / sum(exponentials) * channel
    return result


def first_component(weighted):
    """The projection (*S) of positions on the first right singular vector of (C, *S)."""
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


def upsample(channel, size):
    """Linear interpolation, axis by axis; the centres of the outermost pixels are as far out as it goes."""
    for axis, wanted in enumerate(size):
        given = channel.shape[axis]
        centres = (np.arange(wanted) + 0.5) * given / wanted - 0.5
        channel = np.apply_along_axis(lambda line: np.interp(centres, np.arange(len(line)), line), axis, channel)  # noqa: B023
    return channel
