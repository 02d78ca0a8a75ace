"""Maps against masks and boxes: oracles, hand-made cases, blank maps."""

import numpy as np
import pytest
import torch

from pytorch_grad_cam.demo.scenes import example_scene
from pytorch_grad_cam.metrics import energy_pointing_game, map_box_iou, mask_iou, pointing_game
from pytorch_grad_cam.utils.regions import box_from_map, mask_from_box, mask_from_map
from tests.helpers import metric_oracles as oracles

METRICS = [pointing_game, energy_pointing_game, mask_iou, map_box_iou]


@pytest.fixture
def arguments():
    """Maps with ties, masks that are no boxes, their boxes."""
    rng = np.random.default_rng(1)
    maps = rng.integers(0, 8, (5, 4, 9, 13)) / 7.0
    masks = rng.random((5, 4, 9, 13)) < 0.1
    masks[..., 3:5, 2:6] = True
    boxes = np.array([[1, 2, 6, 5], [0, 0, 13, 9], [12, 8, 13, 9], [3, 0, 4, 9]]) + np.zeros((5, 1, 1), int)
    return maps, masks, boxes


def inside(box, shape):
    mask = np.zeros(shape, bool)
    mask[box[1] : box[3], box[0] : box[2]] = True
    return mask


def around(mask):
    rows, columns = np.nonzero(mask)
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def by_oracle(maps, truth, oracle):
    return np.array([[oracle(*pair) for pair in zip(*row, strict=True)] for row in zip(maps, truth, strict=True)])


@pytest.mark.parametrize("kind", [torch.tensor, np.array])
def test_metrics_equal_their_oracles(arguments, kind):
    maps, masks, boxes = arguments
    filled = np.array([[inside(box, (9, 13)) for box in row] for row in boxes])
    for truth, pixels in ((masks, masks), (boxes, filled)):
        pair = kind(maps), kind(truth)
        for tolerance in (0, 1, 2.5, 15):
            expected = by_oracle(maps, pixels, lambda h, m, t=tolerance: oracles.pointing_game(h, m, t))
            assert np.array_equal(pointing_game(*pair, tolerance), expected)
        assert np.allclose(energy_pointing_game(*pair), by_oracle(maps, pixels, oracles.energy))
        for threshold in (0.2, 0.5, 1):
            expected = by_oracle(maps, pixels, lambda h, m, t=threshold: oracles.iou(h >= t * h.max(), m))
            assert np.allclose(mask_iou(*pair, threshold), expected)
            for region in ("largest", "strongest"):

                def oracle(heat, mask, threshold=threshold, region=region):
                    box = oracles.main_box(heat, threshold, region == "strongest")
                    return oracles.iou(inside(box, heat.shape), inside(around(mask), heat.shape))

                assert np.allclose(map_box_iou(*pair, threshold, region), by_oracle(maps, pixels, oracle))


def test_one_map_and_batches_of_any_shape(arguments):
    maps, masks, boxes = arguments
    for metric in METRICS:
        for truth in (masks, boxes):
            whole = metric(maps, truth)
            assert whole.shape == (5, 4)
            assert metric(maps[2, 1], truth[2, 1]) == whole[2, 1]
            assert torch.equal(metric(maps[:, 3], truth[:, 3]), whole[:, 3])


def test_by_hand():
    heat = np.zeros((4, 6))
    heat[1, 4] = 1
    heat[2:, :2] = 0.5
    box, mask = [3, 0, 6, 2], inside([3, 0, 6, 2], (4, 6))
    assert pointing_game(heat, box)
    assert not pointing_game(heat, ~mask)
    assert pointing_game(heat, [0, 0, 4, 1], tolerance=1.5)
    assert not pointing_game(heat, [0, 0, 4, 1], tolerance=1.4)
    assert energy_pointing_game(heat, box) == energy_pointing_game(heat, mask) == pytest.approx(1 / 3)
    assert mask_iou(heat, box) == pytest.approx(1 / 10)
    assert mask_iou(heat, box, 0.6) == pytest.approx(1 / 6)
    assert map_box_iou(heat, box) == 0
    assert map_box_iou(heat, box, region="strongest") == pytest.approx(1 / 6)


def test_a_perfect_map_of_a_scene():
    objects = example_scene().objects
    maps = np.stack([item.mask for item in objects]).astype(np.float32)
    masks, boxes = np.stack([item.mask for item in objects]), np.array([item.box for item in objects])
    for truth in (masks, boxes):
        for metric in METRICS:
            if metric is not mask_iou or truth is masks:
                assert metric(maps, truth).tolist() == [1] * len(objects)
    assert np.array_equal(box_from_map(maps), boxes)
    assert np.array_equal(mask_from_map(maps), masks)


def test_blank_and_constant_maps_mark_nothing():
    blank, truth = np.zeros((2, 5, 6)), [[0, 0, 3, 3]] * 2
    for metric in METRICS:
        assert metric(blank, truth).tolist() == [0, 0]
    assert not mask_from_map(blank).any()
    assert box_from_map(blank).tolist() == [[0, 0, 0, 0]] * 2
    assert box_from_map(-np.ones((5, 6))).tolist() == [0, 0, 0, 0]
    assert not pointing_game(np.ones((5, 6)), truth[0])
    assert box_from_map(np.ones((5, 6))).tolist() == [0, 0, 6, 5]


def test_regions_keep_the_kind_of_what_was_given():
    heat = torch.rand(3, 2, 7, 8)
    assert mask_from_map(heat).dtype == torch.bool
    assert box_from_map(heat).dtype == torch.int64
    assert box_from_map(heat).shape == (3, 2, 4)
    assert isinstance(mask_from_map(heat.numpy()), np.ndarray)
    assert np.array_equal(box_from_map(heat.numpy()), box_from_map(heat))
    assert mask_from_box(torch.tensor([[1, 1, 2, 3]]), (3, 4)).int().tolist() == [
        [[0, 0, 0, 0], [0, 1, 0, 0], [0, 1, 0, 0]]
    ]


def test_regions_touch_at_corners_and_the_first_of_equals_counts():
    heat = np.zeros((5, 7))
    heat[[0, 1, 2], [2, 1, 0]] = 1
    heat[4, 4:] = 1
    assert box_from_map(heat).tolist() == [0, 0, 3, 3]
    heat[4, 3] = 0.9
    assert box_from_map(heat).tolist() == [3, 4, 7, 5]
    assert box_from_map(heat, region="strongest").tolist() == [0, 0, 3, 3]


def test_errors_say_what_was_given():
    heat, box = torch.rand(2, 5, 6), torch.tensor([[0, 0, 2, 2]] * 2)
    for metric in METRICS:
        with pytest.raises(ValueError, match=r"\(2, 3\) for maps \(2, 5, 6\)"):
            metric(heat, box[:, :3])
        with pytest.raises(ValueError, match="1 of 2 masks or boxes are empty, the first at index 1"):
            metric(heat, torch.tensor([[0, 0, 2, 2], [3, 3, 3, 5]]))
        with pytest.raises(ValueError, match="NaN"):
            metric(heat * torch.nan, box)
    with pytest.raises(ValueError, match="at least 0"):
        energy_pointing_game(heat - 1, box)
    with pytest.raises(ValueError, match="tolerance"):
        pointing_game(heat, box, -1)
    for wrong in (0, 1.5, float("nan")):
        for call in (mask_from_map, box_from_map, lambda map, threshold: mask_iou(map, box, threshold)):
            with pytest.raises(ValueError, match="threshold"):
                call(heat, wrong)
    with pytest.raises(ValueError, match="region"):
        box_from_map(heat, region="best")
    with pytest.raises(ValueError, match="NaN"):
        mask_from_map(heat * torch.nan)


def test_whatever_holds_numbers():
    maps = np.random.default_rng(0).random((2, 6, 8))
    masks = maps > 0.5
    expected = mask_iou(torch.tensor(maps), torch.tensor(masks))
    for values, truth in (
        (list(maps), list(masks)),
        ([torch.tensor(map) for map in maps], [torch.tensor(mask) for mask in masks]),
        (maps[:, ::-1][:, ::-1], masks),
        (maps.tolist(), masks.astype(np.uint16)),
    ):
        assert torch.allclose(mask_iou(values, truth), expected)
    for wrong in (None, "map", maps + 0j):
        with pytest.raises(TypeError, match="expected an array or tensor of real numbers"):
            pointing_game(wrong, masks)
    with pytest.raises(ValueError, match="list of shapes"):
        pointing_game([maps[0], maps[1, :3]], masks)
    with pytest.raises(ValueError, match="masks or boxes hold NaN"):
        pointing_game(maps, masks * np.nan)


def test_energy_of_any_size():
    assert energy_pointing_game(torch.full((300, 300), 3e37), [0, 0, 300, 150]) == 0.5
    assert energy_pointing_game(torch.full((4, 4), 1e-30), [0, 0, 4, 2]) == 0.5


def test_a_peak_that_float32_cannot_tell():
    map = np.zeros((6, 6))
    map[0, 0], map[4, 4] = 1, 1 + 1e-12
    assert box_from_map(map, 1.0, "strongest").tolist() == [4, 4, 5, 5]
    assert box_from_map(np.full((2, 2), 1e-50), region="strongest").tolist() == [0, 0, 2, 2]
