"""Independent versions of the metrics: loops in NumPy float64, written from the papers, without the package.

Each takes one map and one image; `score` is a function from an image (C, H, W) to a number.
"""

import numpy as np


def pointing_game(heat, mask, tolerance):
    best, place = -np.inf, None
    for spot in np.ndindex(heat.shape):
        if heat[spot] > best:
            best, place = heat[spot], spot
    if heat.min() == best:
        return False
    return any(np.hypot(y - place[0], x - place[1]) <= tolerance for y, x in zip(*np.nonzero(mask), strict=True))


def energy(heat, mask):
    total = inside = 0.0
    for spot in np.ndindex(heat.shape):
        total += heat[spot]
        inside += heat[spot] if mask[spot] else 0
    return inside / total if total else 0


def iou(first, second):
    both = either = 0
    for spot in np.ndindex(first.shape):
        both += bool(first[spot] and second[spot])
        either += bool(first[spot] or second[spot])
    return both / either


def main_box(heat, threshold, strongest):
    """By flood fill."""
    marked = {tuple(spot) for spot in np.argwhere((heat >= threshold * heat.max()) & (heat.max() > 0))}
    peak = np.unravel_index(heat.argmax(), heat.shape)
    regions = []
    while marked:
        edge = [min(marked)]
        region = set(edge)
        marked -= region
        while edge:
            y, x = edge.pop()
            near = {(y + i, x + j) for i in (-1, 0, 1) for j in (-1, 0, 1)} & marked
            marked -= near
            region |= near
            edge += near
        regions.append(region)
    if not regions:
        return 0, 0, 0, 0
    main = next(r for r in regions if peak in r) if strongest else max(regions, key=len)
    rows, columns = zip(*main, strict=True)
    return min(columns), min(rows), max(columns) + 1, max(rows) + 1


def order(heat, most):
    places = list(np.ndindex(heat.shape))
    return sorted(places, key=lambda spot: -heat[spot] if most else heat[spot])  # which is stable


def curve(image, replacement, heat, score, step):
    """Scores as pixels of an image become those of a second one, and the area (RISE)."""
    scores, changed = [score(image)], image.copy()
    places = order(heat, most=True)
    shares = [0.0]
    for start in range(0, len(places), step):
        for y, x in places[start : start + step]:
            changed[:, y, x] = replacement[:, y, x]
        scores.append(score(changed))
        shares.append(min(start + step, len(places)) / len(places))
    area = sum((b - a) * (s + t) / 2 for a, b, s, t in zip(shares, shares[1:], scores, scores[1:], strict=False))
    return scores, area


def blur(image):
    result = np.zeros_like(image)
    height, width = image.shape[1:]
    total = sum(np.exp(-(i**2 + j**2) / 50) for i in range(-5, 6) for j in range(-5, 6))
    for y in range(height):
        for x in range(width):
            for i in range(-5, 6):
                for j in range(-5, 6):
                    row, column = min(max(y + i, 0), height - 1), min(max(x + j, 0), width - 1)
                    result[:, y, x] += np.exp(-(i**2 + j**2) / 50) / total * image[:, row, column]
    return result


def impute(image, missing, weights=(1 / 6, 1 / 6, 1 / 12)):
    """ROAD, section 4.2: a dense system, one equation for each missing pixel."""
    places = [tuple(spot) for spot in np.argwhere(missing)]
    number = {spot: i for i, spot in enumerate(places)}
    matrix, right = np.zeros((len(places),) * 2), np.zeros((len(places), len(image)))
    for (y, x), i in number.items():
        for row in (-1, 0, 1):
            for column in (-1, 0, 1):
                spot = (y + row, x + column)
                if (row, column) == (0, 0) or not (0 <= spot[0] < missing.shape[0] and 0 <= spot[1] < missing.shape[1]):
                    continue
                weight = weights[2] if row and column else weights[0] if column else weights[1]
                matrix[i, i] += weight
                if spot in number:
                    matrix[i, number[spot]] -= weight
                else:
                    right[i] += weight * image[(slice(None), *spot)]
    filled = image.copy()
    for spot, values in zip(places, np.linalg.solve(matrix, right), strict=True):
        filled[(slice(None), *spot)] = values
    return filled


def road(image, heat, score, percentage, most):
    missing = np.zeros(heat.shape, bool)
    for spot in order(heat, most)[: int(heat.size * percentage / 100 + 0.5)]:
        missing[spot] = True
    return score(impute(image, missing)) - score(image)


def pearson(first, second):
    a, b = np.array(first) - np.mean(first), np.array(second) - np.mean(second)
    return sum(a * b) / np.sqrt(sum(a**2) * sum(b**2))


def spearman(first, second):
    def ranks(values):
        return [np.mean([i for i, w in enumerate(sorted(values)) if w == v]) for v in values]

    return pearson(ranks(list(first.flat)), ranks(list(second.flat)))
