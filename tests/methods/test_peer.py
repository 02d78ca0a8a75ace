"""The same maps as grad-cam 1.5.7 where the formulas agree; it has the same import name and runs in its own process.

`pytest -m peer -rP` also prints how far each map is off. Where they disagree, which is left out here:
- AblationCAM, where the score is negative (the peer's weights change their signs) or the layer has no smallest value 0
  (it silences by 1e7 below the minimum);
- Grad-CAM++ and faint maps, where gradients do not dwarf the constants that the peer adds (1e-6, 1e-7);
- ScoreCAM, where masks are resized (the peer aligns their corners).
"""

import ast

import numpy as np
import pytest

import pytorch_grad_cam
from pytorch_grad_cam._engine.reductions import mean_of_layers
from tests.helpers import peer_maps
from tests.helpers.peer_names import NAMES
from tests.helpers.peer_process import install_peer, run_peer

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
        found.append(mean_of_layers([-layer_map for layer_map in explanation.layer_maps], images.shape[2:]))
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


def test_arrays_are_those_of_the_peer(peer):
    for name, found in peer_maps.array_functions().items():
        assert (found.dtype, found.shape) == (peer[name].dtype, peer[name].shape), name
        assert abs(found - peer[name]).max() < 1e-5, name


def test_the_list_of_names_is_that_of_the_peer(request):
    folder = install_peer(request.config) / "pytorch_grad_cam"
    names = {}
    for path in folder.rglob("*.py"):
        module = ".".join(["pytorch_grad_cam", *path.relative_to(folder).with_suffix("").parts])
        names[module.removesuffix(".__init__")] = {name for name in public_names(path) if not name.startswith("_")}
    assert names == {module: set(listed) for module, listed in NAMES.items()}


def public_names(path):
    """What a file defines; of a package also what it imports."""
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        if isinstance(node, ast.ImportFrom) and path.name == "__init__.py":
            yield from (alias.asname or alias.name for alias in node.names)
