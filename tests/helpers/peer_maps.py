"""The networks, inputs and cases of test_peer.py; run as a script, what the peer makes of them.

    python peer_maps.py FOLDER NEEDS OUT.npz

The peer has the import name of this library: neither is imported before FOLDER, which holds the peer, is on the path.
"""

import sys
from dataclasses import dataclass, field

import numpy as np
import torch
import torchvision
from skimage.data import chelsea
from torch import nn

# For each network the last layer that ends in a ReLU and keeps positions, and the stem.
LAYERS = {
    "resnet18": ("layer4", "relu"),
    "vgg11": ("features.19", "features.1"),
    "densenet121": ("features.denseblock4.denselayer16.relu2", "features.relu0"),
    "mobilenet_v3_large": ("features.6.block.1", "features.0"),
}
METHODS = ["GradCAM", "GradCAMPlusPlus", "XGradCAM", "LayerCAM", "EigenCAM", "EigenGradCAM", "AblationCAM", "ScoreCAM"]


@dataclass(frozen=True)
class Case:
    """One call for two images.

    The best score of the first is scaled to `score`: AblationCAM of the peer changes its sign with the score, and so
    large a score dwarfs the constants that the peer adds to gradients (1e-6) and to maps (1e-7).
    """

    network: str
    method: str
    layers: tuple[str, ...]
    score: float = 1000
    options: dict[str, bool] = field(default_factory=dict)


CASES = {}
for _network, (_last, _stem) in LAYERS.items():
    for _method in METHODS:
        CASES[f"{_network}-{_method}"] = Case(_network, _method, (_last,))
    # The peer resizes its masks with aligned corners, which does not show on a layer of the input's size. The score is
    # smaller, so that no single channel takes all of the softmax.
    CASES[f"{_network}-ScoreCAM"] = Case(_network, "ScoreCAM", (_stem,), score=100)
    for _option in ("aug_smooth", "eigen_smooth"):
        CASES[f"{_network}-GradCAM-{_option}"] = Case(_network, "GradCAM", (_last,), options={_option: True})
CASES["resnet18-GradCAM-two_layers"] = Case("resnet18", "GradCAM", ("layer3", "layer4"))

# Every ReLU of these is a module; the peer guides no other.
GUIDED = ["resnet18", "vgg11"]


def images():
    return torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))


def network(name, score=1000):
    torch.manual_seed(0)
    model = torchvision.models.get_model(name).eval()
    # The stem keeps the size of the input.
    next(module for module in model.modules() if isinstance(module, nn.Conv2d)).stride = (1, 1)
    head = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
    with torch.no_grad():
        factor = score / model(images())[0].max()
        head.weight *= factor
        head.bias *= factor
    return model


def best_classes(model):
    with torch.no_grad():
        return model(images()).argmax(dim=1).tolist()


def image_functions():
    """What the image utilities of whichever library is on the path make of a picture, by call."""
    from pytorch_grad_cam.sobel_cam import sobel_cam
    from pytorch_grad_cam.utils.image import deprocess_image, preprocess_image, show_cam_on_image

    picture = chelsea()
    unit = np.float32(picture) / 255
    rows, columns = np.mgrid[: picture.shape[0], : picture.shape[1]]
    mask = np.float32(0.5 + 0.5 * np.sin(rows / 40) * np.cos(columns / 60))
    statistics = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    return {
        "show_cam_on_image": show_cam_on_image(unit, mask),
        "show_cam_on_image-rgb": show_cam_on_image(unit, mask, use_rgb=True),
        "show_cam_on_image-weight": show_cam_on_image(unit, mask, True, image_weight=0.8),
        "show_cam_on_image-colormap": show_cam_on_image(unit, mask, colormap=16),
        "show_cam_on_image-float64": show_cam_on_image(picture / 255, mask.astype(np.float64)),
        "preprocess_image": preprocess_image(picture).numpy(),
        "preprocess_image-float": preprocess_image(unit, **statistics).numpy(),
        "deprocess_image": deprocess_image(np.random.default_rng(0).normal(2, 3, picture.shape).astype(np.float32)),
        "deprocess_image-uint8": deprocess_image(picture),
        "sobel_cam": sobel_cam(picture),
        "sobel_cam-alpha": sobel_cam(np.dstack([picture, picture[..., 0]])),
    }


def array_functions():
    """The same of activations, by call: equal but for rounding, and the sign of a projection."""
    from pytorch_grad_cam.utils.image import scale_accross_batch_and_channels, scale_cam_image
    from pytorch_grad_cam.utils.svd_on_activations import get_2d_projection

    activations = np.random.default_rng(0).normal(size=(2, 5, 7, 9)).astype(np.float32)
    return {
        "scale_cam_image": scale_cam_image(activations[0], (36, 21)),
        "scale_cam_image-same": scale_cam_image(activations[0]),
        "scale_accross_batch_and_channels": scale_accross_batch_and_channels(activations, (36, 21)),
        "get_2d_projection": abs(get_2d_projection(activations)),
    }


def main(folder, needs, out):
    sys.path[:] = [folder, *sys.path, needs]
    import pytorch_grad_cam
    from pytorch_grad_cam.targets import ClassifierOutputTarget

    assert pytorch_grad_cam.__file__.startswith(folder), f"the peer is {pytorch_grad_cam.__file__}"
    found = image_functions() | array_functions()
    for name, case in CASES.items():
        model = network(case.network, case.score)
        targets = [ClassifierOutputTarget(category) for category in best_classes(model)]
        layers = [model.get_submodule(layer) for layer in case.layers]
        found[name] = getattr(pytorch_grad_cam, case.method)(model, layers)(images(), targets, **case.options)
    for name in GUIDED:
        found[f"{name}-guided"] = pytorch_grad_cam.GuidedBackpropReLUModel(network(name))(images()[:1])
    np.savez(out, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
