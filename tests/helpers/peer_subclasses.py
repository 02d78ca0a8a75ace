"""Subclasses written for grad-cam 1.x, and their maps; a script for the peer: FOLDER NEEDS OUT."""

import sys


def subclasses():
    """Classes that override what grad-cam 1.x calls; imported when they are made, as the peer has the same name."""
    import numpy as np

    from pytorch_grad_cam import GradCAM, LayerCAM
    from pytorch_grad_cam.base_cam import BaseCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    class OwnWeights(BaseCAM):
        def __init__(self, model, target_layers, reshape_transform=None):
            super().__init__(model, target_layers, reshape_transform)

        def get_cam_weights(self, input_tensor, target_layers, targets, activations, grads):
            return np.maximum(grads, 0).mean(axis=(2, 3))

    class OwnWeightsNoGradients(BaseCAM):
        def __init__(self, model, target_layers, reshape_transform=None):
            super().__init__(model, target_layers, reshape_transform, uses_gradients=False)

        def get_cam_weights(self, input_tensor, target_layers, targets, activations, grads):
            return activations.max(axis=(2, 3))

    class OwnImage(GradCAM):
        def get_cam_image(self, input_tensor, target_layer, targets, activations, grads, eigen_smooth=False):
            inherited = super().get_cam_image(input_tensor, target_layer, targets, activations, grads, eigen_smooth)
            return inherited + np.maximum(grads * activations, 0).sum(axis=1)

    class OwnForward(GradCAM):
        def forward(self, input_tensor, targets, eigen_smooth=False):
            self.outputs = outputs = self.activations_and_grads(input_tensor)
            if targets is None:
                targets = [ClassifierOutputTarget(1)] * len(outputs)
            self.model.zero_grad()
            sum(target(output) for target, output in zip(targets, outputs, strict=True)).backward()
            maps = self.compute_cam_per_layer(input_tensor, targets, eigen_smooth)
            return self.aggregate_multi_layers(maps)

    class OwnLayers(GradCAM):
        def compute_cam_per_layer(self, input_tensor, targets, eigen_smooth):
            return [layer_map**2 for layer_map in super().compute_cam_per_layer(input_tensor, targets, eigen_smooth)]

    class OwnAggregate(GradCAM):
        def aggregate_multi_layers(self, cam_per_target_layer):
            return np.concatenate(cam_per_target_layer, axis=1).max(axis=1)

    class OwnSize(GradCAM):
        def get_target_width_height(self, input_tensor):
            return 10, 7

    class OwnAggregateOfLayerCAM(LayerCAM):
        def aggregate_multi_layers(self, cam_per_target_layer):
            return super().aggregate_multi_layers(cam_per_target_layer) / 2

    return [
        OwnWeights,
        OwnWeightsNoGradients,
        OwnImage,
        OwnForward,
        OwnLayers,
        OwnAggregate,
        OwnSize,
        OwnAggregateOfLayerCAM,
    ]


def maps():
    """Maps of each class, by its name: of one layer, of two, and smoothed."""
    import torch

    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
    from tests.helpers.tiny_networks import ConvNet

    results = {}
    for cls in subclasses():
        torch.manual_seed(0)
        model, images = ConvNet().eval(), torch.randn(3, 3, 12, 16)
        targets = [ClassifierOutputTarget(category) for category in (0, 2, 1)]
        layers = [model.features[1], model.features]
        results[cls.__name__] = cls(model=model, target_layers=layers[1:])(images, targets)
        results[f"{cls.__name__} default"] = cls(model, layers[1:])(input_tensor=images, targets=None)
        if cls.__name__ != "OwnSize":
            results[f"{cls.__name__} two layers"] = cls(model, layers)(images, targets)
            results[f"{cls.__name__} smooth"] = cls(model, layers[1:])(images, targets, aug_smooth=True)
    return results


if __name__ == "__main__":
    folder, needs, out = sys.argv[1:]
    sys.path.insert(0, folder)
    sys.path.append(needs)
    import numpy

    import pytorch_grad_cam

    assert pytorch_grad_cam.__file__.startswith(folder), f"the peer is {pytorch_grad_cam.__file__}"
    numpy.savez(out, **maps())
