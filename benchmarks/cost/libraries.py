"""Call each library, as its documentation says, for maps of the size of the input.

This library and grad-cam share an import name: libraries are imported inside functions, each in a process of its own.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.cost.case import Case
from benchmarks.cost.lower_bounds import gradient_bound
from benchmarks.cost.networks import network_of

GRADIENT = ("GradCAM", "GradCAMPlusPlus", "XGradCAM", "LayerCAM")
EIGEN = ("EigenGradCAM", "EigenCAM")
METHODS = (*GRADIENT, *EIGEN, "AblationCAM", "ScoreCAM")
Call = Callable[[], Any]


@dataclass(frozen=True)
class Task:
    """A case with what every library gets; classes has shape (B,)."""

    case: Case
    model: nn.Module
    images: Tensor
    classes: Tensor
    layer: nn.Module


@contextmanager
def lower_bound(task: Task) -> Iterator[Call]:
    """No library: the work that none can avoid."""
    task.model.requires_grad_(False)
    try:
        yield partial(gradient_bound, task.model, task.layer, task.images, task.classes)
    finally:
        task.model.requires_grad_(True)


@contextmanager
def here(task: Task) -> Iterator[Call]:
    """This library."""
    import pytorch_grad_cam

    options = {"channels": task.case.channels} if task.case.channels else {}
    cam = getattr(pytorch_grad_cam, task.case.method)(task.model, task.layer, **options)
    yield partial(cam, task.images, task.classes.tolist(), aug_smooth=task.case.aug_smooth)


@contextmanager
def grad_cam(task: Task) -> Iterator[Call]:
    """grad-cam; its hooks live as long as the object."""
    import pytorch_grad_cam
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    method = getattr(pytorch_grad_cam, task.case.method)
    transform = network_of(task.case.network).transform
    cam = method(model=task.model, target_layers=[task.layer], reshape_transform=transform)
    targets = [ClassifierOutputTarget(index) for index in task.classes.tolist()]
    try:
        yield partial(cam, input_tensor=task.images, targets=targets, aug_smooth=task.case.aug_smooth)
    finally:
        cam.activations_and_grads.release()


@contextmanager
def torchcam(task: Task) -> Iterator[Call]:
    """torchcam: a forward pass, then the maps of the layer's size."""
    from torchcam import methods

    name = {"GradCAMPlusPlus": "GradCAMpp"}.get(task.case.method, task.case.method)
    transform = network_of(task.case.network).transform
    with getattr(methods, name)(task.model, task.layer, reshape_transform=transform) as cam:

        def call() -> Tensor:
            with torch.inference_mode(name == "ScoreCAM"):
                scores = task.model(task.images)
            maps = cam(task.classes.tolist(), scores)[0][:, None]
            return F.interpolate(maps, task.images.shape[2:], mode="bilinear")[:, 0]

        yield call


@contextmanager
def captum(task: Task) -> Iterator[Call]:
    """captum: the attributions of the layer's size."""
    from captum.attr import LayerAttribution, LayerGradCam

    attribute = partial(LayerGradCam(task.model, task.layer).attribute, relu_attributions=True)
    size = tuple(task.images.shape[2:])
    yield lambda: LayerAttribution.interpolate(attribute(task.images, task.classes), size, "bilinear")[:, 0].detach()


@dataclass(frozen=True)
class Library:
    """Interface to a library that is measured; its context `start`, in which it can be called, is not."""

    title: str
    start: Callable[[Task], AbstractContextManager[Call]]
    methods: tuple[str, ...]
    requirement: str | None = None
    package: str = "pytorch_grad_cam"
    transformers: bool = True
    smooths: bool = False

    def can(self, case: Case) -> bool:
        """Tell if the library has what the case asks for."""
        if case.method not in self.methods or (case.aug_smooth and not self.smooths):
            return False
        if case.channels and self.requirement:
            return False
        return self.transformers or not network_of(case.network).transform


LIBRARIES = {
    "bound": Library("lower bound", lower_bound, ("GradCAM",)),
    "here": Library("here", here, METHODS, smooths=True),
    "grad-cam": Library("grad-cam 1.5.7", grad_cam, METHODS, "grad-cam==1.5.7", smooths=True),
    "torchcam": Library("torchcam 0.5.0", torchcam, (*GRADIENT, "ScoreCAM"), "torchcam==0.5.0", "torchcam"),
    "captum": Library("captum 0.9.0", captum, ("GradCAM",), "captum==0.9.0", "captum", transformers=False),
}
PEERS = tuple(name for name, library in LIBRARIES.items() if library.requirement)
