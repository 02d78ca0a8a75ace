"""What the metrics of whichever library is on the path give; run as a script, those of the peer.

python peer_metrics.py FOLDER NEEDS OUT.npz
"""

import sys

import numpy as np
import torch


@torch.no_grad()
def sharpen(network, images):
    """Have the scores of a ConvNet differ much from picture to picture."""
    network.fc.weight *= 100
    network.fc.bias -= network(images).mean(0)
    return network


def results(network):
    """Arrays by name. Maps without ties, of 200 pixels: percentiles of the peer remove as many of them as ours."""
    from pytorch_grad_cam.metrics import cam_mult_image
    from pytorch_grad_cam.metrics.perturbation_confidence import (
        PerturbationConfidenceMetric,
        RemoveLeastRelevantFirst,
        RemoveMostRelevantFirst,
    )
    from pytorch_grad_cam.metrics.road import NoisyLinearImputer, ROADCombined
    from pytorch_grad_cam.targets import ClassifierOutputSoftmaxTarget, ClassifierOutputTarget

    torch.manual_seed(0)
    images = torch.randn(4, 3, 10, 20)
    model = sharpen(network().eval(), images)
    maps = np.random.default_rng(0).permutation(800).reshape(4, 10, 20).astype(np.float32) / 799
    known = torch.tensor(maps[0] < 0.8).float()
    found = {"imputer": NoisyLinearImputer(noise=0)(images[0], known).numpy()}
    for kind in (ClassifierOutputTarget, ClassifierOutputSoftmaxTarget):
        given = images, maps, [kind(category) for category in (1, 0, 3, 2)], model
        names = ["CamMultImageConfidenceChange"]
        if kind is ClassifierOutputSoftmaxTarget:  # of which some fall and some rise; the scores all rise
            names += ["DropInConfidence", "IncreaseInConfidence"]
        for name in names:
            found[f"{name}-{kind.__name__}"] = getattr(cam_mult_image, name)()(*given)
        for remove in (RemoveMostRelevantFirst, RemoveLeastRelevantFirst):
            for percentile in (20, 50, 90):
                metric = PerturbationConfidenceMetric(remove(percentile, NoisyLinearImputer(noise=0)))
                name = f"{remove.__name__}-{percentile}-{kind.__name__}"
                found[name], found[f"{name}-pictures"] = metric(*given, return_visualization=True)
                found[f"{name}-after"] = metric(*given, return_diff=False)
        assert ROADCombined(percentiles=[20, 50])(*given).shape == (4,)
    return {name: np.asarray(values) for name, values in found.items()}


def main(folder, needs, out):
    sys.path[:] = [folder, *sys.path, needs]
    import pytorch_grad_cam
    from tests.helpers.tiny_networks import ConvNet

    assert pytorch_grad_cam.__file__.startswith(folder), f"the peer is {pytorch_grad_cam.__file__}"
    np.savez(out, **results(ConvNet))


if __name__ == "__main__":
    main(*sys.argv[1:])
