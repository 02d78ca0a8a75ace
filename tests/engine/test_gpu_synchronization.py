"""Which operations would make the CPU wait for a GPU: counted without one, by what each call asks PyTorch for."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from pytorch_grad_cam import METHODS
from pytorch_grad_cam.demo.network import NETWORKS, load_demo_network, to_input
from pytorch_grad_cam.demo.scenes import HELD_OUT, make_scene

# Those that give Python a value, or a tensor whose size depends on values.
WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "_unique2", "unique_consecutive")


class Waits(TorchDispatchMode):
    """Counts them; copies to the CPU, such as that of the maps, which has to be, are not seen there."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        masks = name in ("index", "index_put_") and any(i is not None and i.dtype == torch.bool for i in args[1])
        self.count += masks or name in WAITING
        return func(*args, **(kwargs or {}))


def test_what_waits_is_counted():
    with Waits() as waits:
        values = torch.arange(4.0)
        float(values.sum())
        values[values > 1]
        values.nonzero()
    assert waits.count == 3


@pytest.mark.parametrize("method", [method for method in METHODS.values() if method.derivatives])
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("several", [False, True], ids=["one class", "classes"])
def test_a_gradient_method_asks_for_no_value_on_the_way(network, method, several):
    scene = make_scene(HELD_OUT[0], count=2)
    images = to_input(scene.image[None])
    classes = [one.label for one in scene.objects]
    cam = method(load_demo_network(network))
    given = [classes] if several else classes[0]
    assert cam(images, given).any(axis=(-1, -2)).all(), "of a blank map the reason is found, for which it may wait"
    with Waits() as waits:
        cam(images, given)
    # Which maps are blank is asked where they are, on the CPU; whether a gradient reaches the positions of a layer that
    # returns a class token beside them is asked where the gradient is.
    assert waits.count == 1 + (network == "vit")
