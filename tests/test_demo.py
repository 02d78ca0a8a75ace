"""The small world keeps its word: scenes are what they say they are, and the shipped network names what is in them."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from pytorch_grad_cam.demo.evaluate import measure
from pytorch_grad_cam.demo.network import load_network, to_input, weights_path
from pytorch_grad_cam.demo.scenes import CLASSES, HELD_OUT, SIZE, TRAINING, Scene, both, make_scene

EXAMPLE = Path(__file__).parents[1] / "examples" / "both.png"


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [make_scene(seed) for seed in HELD_OUT[:200]]


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return load_network()


def test_a_seed_determines_the_scene(scenes: list[Scene]) -> None:
    first, again, other = scenes[3], make_scene(HELD_OUT[3]), make_scene(HELD_OUT[4])
    assert np.array_equal(first.image, again.image)
    assert [one.name for one in first.objects] == [one.name for one in again.objects]
    assert all(np.array_equal(a.mask, b.mask) for a, b in zip(first.objects, again.objects, strict=True))
    assert not np.array_equal(first.image, other.image)


def test_types_and_shapes(scenes: list[Scene]) -> None:
    for scene in scenes:
        assert scene.image.shape == (SIZE, SIZE, 3)
        assert scene.image.dtype == np.uint8
        for one in scene.objects:
            assert one.mask.shape == (SIZE, SIZE)
            assert one.mask.dtype == np.bool_
            assert one.name == CLASSES[one.label]


def test_masks_are_disjoint_and_boxes_tight(scenes: list[Scene]) -> None:
    for scene in scenes:
        assert np.sum([one.mask for one in scene.objects], axis=0).max() == 1
        for one in scene.objects:
            x0, y0, x1, y1 = one.box
            inside = one.mask[y0:y1, x0:x1]
            assert inside.shape == (y1 - y0, x1 - x0)
            assert inside.sum() == one.mask.sum()
            assert all(edge.any() for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]))


def test_objects_differ_from_what_surrounds_them(scenes: list[Scene]) -> None:
    for scene in scenes:
        for one in scene.objects:
            x0, y0, x1, y1 = one.box
            colours, mask = scene.image[y0:y1, x0:x1], one.mask[y0:y1, x0:x1]
            assert np.linalg.norm(colours[mask].mean(0) - colours[~mask].mean(0)) > 50


def test_one_to_three_objects_of_different_classes(scenes: list[Scene]) -> None:
    assert {len(scene.objects) for scene in scenes} == {1, 2, 3}
    assert {one.name for scene in scenes for one in scene.objects} == set(CLASSES)
    for count in (1, 2, 3):
        assert len({one.label for one in make_scene(HELD_OUT[0], count).objects}) == count


def test_held_out_scenes_are_never_trained_on() -> None:
    assert HELD_OUT[-1] < TRAINING[0]


def test_a_close_up_is_a_small_scene() -> None:
    for seed in TRAINING[:50]:
        scene = make_scene(seed, count=1, size=64)
        assert scene.image.shape == (64, 64, 3)
        assert [one.mask.shape for one in scene.objects] == [(64, 64)]


def test_the_example_is_the_picture_in_examples() -> None:
    bgr = cv2.imread(str(EXAMPLE))
    assert bgr is not None
    assert len(both().objects) == 2
    assert np.abs(bgr[..., ::-1].astype(int) - both().image).max() <= 1


def test_weights_are_small_and_safe_to_load() -> None:
    assert weights_path().stat().st_size <= 2_000_000
    weights = torch.load(weights_path(), weights_only=True)
    assert all(isinstance(value, torch.Tensor) for value in weights.values())


def test_the_last_map_is_8_by_8(network: nn.Module) -> None:
    maps: list[torch.Tensor] = []
    handle = network.get_submodule("conv5").register_forward_hook(lambda layer, inputs, output: maps.append(output))
    logits = network(to_input(both().image))
    handle.remove()
    assert logits.shape == (1, len(CLASSES))
    assert maps[0].shape[2:] == (8, 8)


def test_to_input_takes_one_picture_or_several() -> None:
    image = both().image
    one, several = to_input(image), to_input(np.stack([image, image]))
    assert (one.shape, several.shape) == ((1, 3, SIZE, SIZE), (2, 3, SIZE, SIZE))
    assert torch.equal(one[0], several[1])
    assert one[0, 0, 5, 9].item() == pytest.approx((image[5, 9, 0] / 255 - 0.485) / 0.229, abs=1e-5)


def test_the_network_names_what_is_in_held_out_scenes(network: nn.Module) -> None:
    assert measure(network, HELD_OUT[:300]).objects >= 0.97


def test_both_objects_of_the_example_have_the_highest_scores(network: nn.Module) -> None:
    with torch.no_grad():
        best = network(to_input(both().image))[0].topk(2).indices.tolist()
    assert set(best) == {one.label for one in both().objects}


def test_scenes_need_numpy_only() -> None:
    source = (
        "import sys; import pytorch_grad_cam; before = set(sys.modules); import pytorch_grad_cam.demo.scenes; "
        "print(*(set(sys.modules) - before))"
    )
    loaded = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True).stdout.split()
    assert not {name.split(".")[0] for name in loaded} & {"cv2", "PIL", "scipy", "torch", "torchvision"}
