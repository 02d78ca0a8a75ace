"""The same maps as grad-cam 1.5.7 where the formulas agree; it has the same import name and runs in its own process.

`pytest -m peer -rP` also prints how far each map is off. Where they disagree, which is left out here:
- AblationCAM, where the score is negative (the peer's weights change their signs) or the layer has no smallest value 0
  (it silences by 1e7 below the minimum);
- Grad-CAM++ and faint maps, where gradients do not dwarf the constants that the peer adds (1e-6, 1e-7);
- ScoreCAM, where masks are resized (the peer aligns their corners).
"""

import numpy as np
import peer_maps
import pytest
from peer_process import run_peer

import pytorch_grad_cam
from pytorch_grad_cam.reductions import fuse

pytestmark = pytest.mark.peer


@pytest.fixture(scope="session")
def peer(request, tmp_path_factory):
    """What the peer makes of every case, by name."""
    return run_peer(request.config, peer_maps.__file__, tmp_path_factory.mktemp("peer") / "maps.npz")


@pytest.mark.parametrize("name", peer_maps.CASES)
def test_maps_are_those_of_the_peer(peer, name):
    case, images = peer_maps.CASES[name], peer_maps.images()
    model = peer_maps.network(case.network, case.score)
    cam = getattr(pytorch_grad_cam, case.method)(model, list(case.layers))
    explanation = cam.explain(images, peer_maps.best_classes(model), **case.options)
    assert (explanation.scores > 0).all()
    found = [explanation.maps]
    if "Eigen" in case.method or "eigen_smooth" in case.options:  # the peer leaves the sign of a component to chance
        found.append(fuse([-layer_map for layer_map in explanation.layer_maps], images.shape[2:]))
    assert peer[name].std() > 0.05, "there is something to compare"
    # Of each image the better sign, of those the worst image.
    off = np.min([abs(maps[:, 0].numpy() - peer[name]).max(axis=(1, 2)) for maps in found], axis=0).max()
    print(f"{name}: at most {off:.1e} off")
    assert off <= 1e-3


@pytest.mark.parametrize("name", peer_maps.GUIDED)
def test_guided_gradients_are_those_of_the_peer(peer, name):
    expected = peer[f"{name}-guided"]
    found = pytorch_grad_cam.GuidedBackpropReLUModel(peer_maps.network(name))(peer_maps.images()[:1])
    assert abs(found - expected).max() <= 1e-5 * abs(expected).max()


def test_pictures_are_those_of_the_peer_pixel_for_pixel(peer):
    for name, found in peer_maps.image_functions().items():
        assert found.dtype == peer[name].dtype, name
        assert np.array_equal(found, peer[name]), name
