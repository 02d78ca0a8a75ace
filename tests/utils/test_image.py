"""Image utilities against the formulas they stand for, pixel by pixel, and their errors."""

import re

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from pytorch_grad_cam._engine.maps import rescale, resize
from pytorch_grad_cam.sobel_cam import sobel_cam
from pytorch_grad_cam.utils.image import (
    deprocess_image,
    preprocess_image,
    scale_accross_batch_and_channels,
    scale_cam_image,
    show_cam_on_image,
)


@pytest.fixture(scope="module")
def photograph():
    return np.float32(data.chelsea()) / 255


@pytest.fixture(scope="module")
def mask(photograph):
    y, x = np.mgrid[: photograph.shape[0], : photograph.shape[1]]
    return np.float32(np.sin(x / 40) * np.cos(y / 30) / 2 + 0.5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weight", [0, 0.3, 0.5, 1])
@pytest.mark.parametrize("colormap", [cv2.COLORMAP_JET, cv2.COLORMAP_VIRIDIS])
def test_overlay_is_a_weighted_blend_stretched_to_255(photograph, mask, dtype, weight, colormap):
    img = photograph.astype(dtype)
    heat = cv2.applyColorMap(np.uint8(255 * mask), colormap)
    for use_rgb in (False, True):
        colors = cv2.cvtColor(heat, cv2.COLOR_BGR2RGB) if use_rgb else heat
        blend = (1 - weight) * (np.float32(colors) / 255) + weight * img
        expected = np.uint8(255 * (blend / np.max(blend)))
        result = show_cam_on_image(img, mask, use_rgb=use_rgb, colormap=colormap, image_weight=weight)
        assert result.dtype == np.uint8
        assert np.array_equal(result, expected)


def test_overlay_defaults_are_jet_bgr_and_half(photograph, mask):
    expected = show_cam_on_image(photograph, mask, False, cv2.COLORMAP_JET, 0.5)
    assert np.array_equal(show_cam_on_image(photograph, mask), expected)
    hot = show_cam_on_image(np.zeros((1, 1, 3), np.float32), np.ones((1, 1), np.float32))
    assert hot.argmax() == 2, "JET's hottest color is red, which comes last in BGR"


def test_overlay_of_nothing_on_black_is_black():
    black = show_cam_on_image(np.zeros((2, 2, 3), np.float32), np.zeros((2, 2), np.float32), image_weight=1)
    assert not black.any()


def test_overlay_errors(photograph, mask):
    gray = photograph[..., 0]
    cases = [
        (np.uint8(255 * photograph), mask, {}, TypeError, r"img is uint8.*np.float32\(img\) / 255"),
        (photograph.tolist(), mask, {}, TypeError, "img is list, expected a NumPy array"),
        (np.int64(photograph), mask, {}, TypeError, "img is an array of int64"),
        (255 * photograph, mask, {}, ValueError, r"img lies in \[.*, expected \[0, 1\]; divide 8-bit values by 255"),
        (photograph - 1, mask, {}, ValueError, "img lies in"),
        (photograph.transpose(2, 0, 1), mask, {}, ValueError, r"expected \(H, W, 3\); channels come last"),
        (gray, mask, {}, ValueError, r"img has shape \(300, 451\), expected \(H, W, 3\)"),
        (photograph, mask[None], {}, ValueError, r"mask has shape \(1, 300, 451\), expected one map"),
        (photograph, mask[:7, :7], {}, ValueError, r"mask is \(7, 7\) and img is \(300, 451\).*cv2.resize"),
        (photograph, 255 * mask, {}, ValueError, "mask lies in"),
        (photograph, mask * np.nan, {}, ValueError, r"mask lies in \[nan"),
        (photograph, mask, {"image_weight": 1.5}, ValueError, "image_weight is 1.5, expected a share"),
    ]
    for img, heat, options, error, message in cases:
        with pytest.raises(error, match=message):
            show_cam_on_image(img, heat, **options)


def test_preprocess_subtracts_the_mean_and_divides_by_the_deviation(photograph):
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    expected = ((photograph - np.float32(mean)) / np.float32(std)).transpose(2, 0, 1)[None]
    result = preprocess_image(photograph, mean=mean, std=std)
    assert result.dtype == torch.float32
    assert result.is_contiguous()
    assert np.array_equal(result.numpy(), expected)
    assert np.allclose(preprocess_image(np.uint8(255 * photograph)), preprocess_image(np.uint8(255 * photograph) / 255))
    assert np.allclose(preprocess_image(photograph), (photograph.transpose(2, 0, 1)[None] - 0.5) / 0.5)


def test_preprocess_equals_torchvision(photograph):
    from torchvision.transforms import Compose, Normalize, ToTensor

    expected = Compose([ToTensor(), Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])])
    for image in (photograph, np.uint8(255 * photograph)):
        result = preprocess_image(image, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
        assert torch.equal(result[0], expected(image))


def test_preprocess_errors(photograph):
    with pytest.raises(ValueError, match=r"mean and std have shapes \(2,\) and \(3,\), expected one value for each"):
        preprocess_image(photograph, mean=[0.5, 0.5])
    with pytest.raises(ValueError, match=r"img has shape \(300, 451, 3\), expected \(H, W, 1\)"):
        preprocess_image(photograph, mean=[0.5], std=[0.5])
    with pytest.raises(ValueError, match="std is .*expected values above 0"):
        preprocess_image(photograph, std=[0.5, 0, 0.5])
    with pytest.raises(ValueError, match="img lies in .* divide 8-bit values by 255"):
        preprocess_image(photograph * 255)
    with pytest.raises(ValueError, match="img lies in .* it may be normalized already"):
        show_cam_on_image(photograph - 1, photograph[..., 0])


def test_preprocess_takes_images_of_pil_and_gray_ones(photograph):
    pil_image = Image.fromarray(np.uint8(255 * photograph))
    assert torch.equal(preprocess_image(pil_image), preprocess_image(np.asarray(pil_image)))
    gray = pil_image.convert("L")
    expected = torch.tensor((np.asarray(gray)[None, None] / np.float32(255) - np.float32(0.25)) / np.float32(0.5))
    for image in (gray, np.asarray(gray), np.asarray(gray)[..., None]):
        assert torch.equal(preprocess_image(image, [0.25], [0.5]), expected)


def test_deprocess_puts_the_mean_at_mid_gray():
    gradient = np.random.default_rng(0).normal(3, 7, (5, 6, 3)).astype(np.float32)
    standard = (gradient - gradient.mean()) / ((gradient - gradient.mean()).std() + 1e-5)
    assert np.array_equal(deprocess_image(gradient), np.uint8(np.clip(standard * 0.1 + 0.5, 0, 1) * 255))
    assert np.array_equal(deprocess_image(np.zeros((2, 2, 3))), np.full((2, 2, 3), 127, np.uint8))
    with pytest.raises(ValueError, match="finite values"):
        deprocess_image(gradient * np.nan)


@pytest.mark.parametrize("size", [(7, 7), (224, 224), (33, 100), (5, 3)])
def test_resize_equals_cv2(size):
    maps = torch.rand(2, 3, 7, 9)
    result = resize(maps, size).numpy()
    for b in range(2):
        for k in range(3):
            assert abs(result[b, k] - cv2.resize(maps[b, k].numpy(), size[::-1])).max() < 2e-6


def test_rescale_is_min_max_for_each_map_and_constant_maps_are_zero():
    maps = torch.tensor([[[[2.0, 4.0, 6.0]], [[-1.0, 0.0, 0.0]]], [[[3.0, 3.0, 3.0]], [[0.0, 1e-30, 0.0]]]])
    expected = [[[[0, 0.5, 1]], [[0, 1, 1]]], [[[0, 0, 0]], [[0, 1, 0]]]]
    assert rescale(maps).tolist() == expected


def test_scale_cam_image():
    cam = np.random.default_rng(0).normal(size=(2, 4, 5))
    result = scale_cam_image(cam, (10, 8))
    assert result.shape == (2, 8, 10)
    assert result.dtype == np.float32
    for values, scaled in zip(cam, result, strict=True):
        expected = cv2.resize(np.float32((values - values.min()) / (values.max() - values.min())), (10, 8))
        assert abs(scaled - expected).max() < 2e-6
    assert scale_cam_image(cam).shape == cam.shape
    assert scale_cam_image(np.zeros((1, 2, 3, 4)), (8, 6, 4)).shape == (1, 4, 6, 8)
    with pytest.raises(ValueError, match=r"cam has shape \(2, 4, 5\) and target_size is \(10,\)"):
        scale_cam_image(cam, (10,))
    mirrored = np.float32(cam)[..., ::-1]  # of which PyTorch makes no tensor
    assert np.array_equal(scale_cam_image(mirrored), scale_cam_image(mirrored.copy()))


def test_scale_across_batch_and_channels_takes_each_channel_by_itself():
    activations = np.random.default_rng(0).normal(size=(2, 3, 4, 5))
    result = scale_accross_batch_and_channels(activations, (10, 8))
    assert (result.shape, result.dtype) == ((2, 3, 8, 10), np.float32)
    for image, channels in zip(activations, result, strict=True):
        assert np.array_equal(channels, scale_cam_image(image, (10, 8)))
    with pytest.raises(ValueError, match=r"tensor has shape \(3, 4, 5\) .* expected \(B, C, H, W\)"):
        scale_accross_batch_and_channels(activations[0], (10, 8))


def test_sobel_cam_is_the_mean_of_two_derivatives():
    img = np.random.default_rng(0).integers(0, 256, (6, 7, 3), np.uint8)
    img[:3] //= 8  # so that not all derivatives are above 255
    gray = np.pad(cv2.cvtColor(img, cv2.COLOR_RGB2GRAY).astype(int), 1, "reflect")
    result = sobel_cam(img)
    assert np.array_equal(sobel_cam(np.dstack([img, img[..., 0]])), result)  # alpha
    assert (result.shape, result.dtype) == ((6, 7), np.uint8)
    for y in range(6):
        for x in range(7):
            (a, b, c), (d, _, f), (g, h, i) = gray[y : y + 3, x : x + 3].tolist()
            across, down = abs(c + 2 * f + i - a - 2 * d - g), abs(g + 2 * h + i - a - 2 * b - c)
            assert abs(int(result[y, x]) - (min(across, 255) + min(down, 255)) / 2) <= 0.5


@pytest.mark.parametrize("img", [np.zeros((4, 5, 3)), torch.zeros(4, 5, 3), [[0]]])
def test_sobel_cam_wants_bytes(img):
    with pytest.raises(TypeError, match=r"img is .*, expected one of uint8: np.uint8\(255 \* img\)"):
        sobel_cam(img)


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1), (0, 5, 3), (2, 4, 5, 3)])
def test_sobel_cam_wants_an_image(shape):
    with pytest.raises(ValueError, match=rf"img has shape {re.escape(str(shape))}, expected \(H, W, 3\)$"):
        sobel_cam(np.zeros(shape, np.uint8))
