"""How each library is called, as its documentation says, to give maps of the size of the input.

This library and grad-cam have one import name: libraries are imported inside functions, each in a process of its own.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.cases import Case
from benchmarks.floors import FLOORS, floor_ablation, floor_gradient, floor_score
from benchmarks.networks import NETWORKS, Transform, last_layer, transform_of

GRADIENT = ("GradCAM", "GradCAMPlusPlus", "XGradCAM", "LayerCAM")
EIGEN = ("EigenGradCAM", "EigenCAM")
METHODS = (*GRADIENT, *EIGEN, "AblationCAM", "ScoreCAM")


@dataclass(frozen=True)
class Task:
    """A case with all that a library is given."""

    case: Case
    model: nn.Module
    images: Tensor
    classes: Tensor

    @property
    def layer(self) -> nn.Module:
        """The target layer."""
        return self.model.get_submodule(self.case.layer or last_layer(self.case.network))

    @property
    def transform(self) -> Transform | None:
        """What a peer needs for a transformer."""
        return transform_of(self.case.network)


Call = Callable[[], Any]


@contextmanager
def floor(task: Task) -> Iterator[Call]:
    """No library: the floor of all gradient methods, that of AblationCAM or that of ScoreCAM."""
    given = task.case.network, task.model, task.images
    if task.case.method == "AblationCAM":
        yield partial(floor_ablation, *given)
    elif task.case.method == "ScoreCAM":
        yield partial(floor_score, *given, task.case.channels or 0)
    else:
        yield partial(floor_gradient, *given, task.classes)


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
    from pytorch_grad_cam.targets import ClassifierOutputTarget

    method = getattr(pytorch_grad_cam, task.case.method)
    cam = method(model=task.model, target_layers=[task.layer], reshape_transform=task.transform)
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
    classes = task.classes.tolist()
    with getattr(methods, name)(task.model, task.layer, reshape_transform=task.transform) as cam:

        def call() -> Tensor:
            with torch.inference_mode(name == "ScoreCAM"):
                scores = task.model(task.images)
            return resized(cam(classes, scores)[0][:, None], task)

        yield call


@contextmanager
def captum(task: Task) -> Iterator[Call]:
    """captum: the attributions of the layer's size."""
    from captum.attr import LayerAttribution, LayerGradCam

    cam = LayerGradCam(task.model, task.layer)
    size = tuple(task.images.shape[2:])

    def call() -> Tensor:
        maps = cam.attribute(task.images, target=task.classes, relu_attributions=True)
        resized: Tensor = LayerAttribution.interpolate(maps, size, "bilinear")[:, 0]
        return resized.detach()

    yield call


def resized(maps: Tensor, task: Task) -> Tensor:
    """Maps (B, 1, h, w) at the size of the images."""
    return F.interpolate(maps, task.images.shape[2:], mode="bilinear")[:, 0]


@dataclass(frozen=True)
class Library:
    """What there is to measure of one library.

    Attributes:
        title: as the page calls it.
        start: the context in which it can be called; what happens before the call is not measured.
        methods: those it has, by their names here.
        requirement: for pip; None for what is no peer.
        module: what its users import.
        transformers: whether it takes a transform from tokens.
        smooths: whether it averages over augmentations.
    """

    title: str
    start: Callable[[Task], AbstractContextManager[Call]]
    methods: tuple[str, ...]
    requirement: str | None = None
    module: str = "pytorch_grad_cam"
    transformers: bool = True
    smooths: bool = False

    @property
    def package(self) -> str:
        """The folder of its code."""
        return self.module.split(".")[0]

    def can(self, case: Case) -> bool:
        """Whether it has what the case asks for."""
        if self.start is floor:
            written = case.method in self.methods and case.network in FLOORS and not case.layer and not case.aug_smooth
            return written and (case.method != "ScoreCAM" or case.channels is not None)  # all channels: minutes
        if case.network in NETWORKS and NETWORKS[case.network].transform and not self.transformers:
            return False
        return case.method in self.methods and (self.smooths or not case.aug_smooth) and not self._lacks_channels(case)

    def _lacks_channels(self, case: Case) -> bool:
        return case.channels is not None and self.requirement is not None


LIBRARIES = {
    "floor": Library("floor", floor, ("GradCAM", "AblationCAM", "ScoreCAM")),
    "here": Library("here", here, METHODS, smooths=True),
    "grad-cam": Library("grad-cam 1.5.7", grad_cam, METHODS, "grad-cam==1.5.7", smooths=True),
    "torchcam": Library("torchcam 0.5.0", torchcam, (*GRADIENT, "ScoreCAM"), "torchcam==0.5.0", "torchcam.methods"),
    "captum": Library("captum 0.9.0", captum, ("GradCAM",), "captum==0.9.0", "captum.attr", transformers=False),
}
