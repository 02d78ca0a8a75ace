"""A model is the same after a call as before: on success, on an exception anywhere and on Ctrl-C."""

import gc
import sys

import numpy as np
import pytest
import torch
from torch import nn

from pytorch_grad_cam import METHODS, GuidedBackpropReLUModel
from pytorch_grad_cam.perturbation_cam import PerturbationCAM

methods = pytest.mark.parametrize("method", METHODS)


def snapshot(model):
    return {
        "modules": [(name, id(module)) for name, module in model.named_modules()],
        "attributes": [sorted(vars(module)) for module in model.modules()],
        "training": [module.training for module in model.modules()],
        "values": {
            name: (id(value), value.clone(), value._version) for name, value in model.state_dict(keep_vars=True).items()
        },
        "requires_grad": [parameter.requires_grad for parameter in model.parameters()],
        "grad": [None if p.grad is None else (id(p.grad), p.grad.clone()) for p in model.parameters()],
        "hooks": [
            (dict(m._forward_hooks), dict(m._forward_pre_hooks), dict(m._backward_hooks)) for m in model.modules()
        ],
        "grad mode": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "random numbers": torch.get_rng_state(),
    }


def equal(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    return a == b


class Model(nn.Module):
    """Everything that a careless call would change; `fault` raises in the part after the target layer."""

    fault = None

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(inplace=True))
        self.dropout = nn.Dropout(0.5)
        self.frozen = nn.BatchNorm2d(6)
        self.fc = nn.Linear(6, 4)

    def forward(self, x):
        x = self.frozen(self.dropout(self.features(x)))
        if self.fault is not None:
            raise self.fault
        return self.fc(x.relu().mean((2, 3)))


@pytest.fixture
def model():
    model = Model().train()
    model.frozen.eval()
    model.features[0].weight.requires_grad_(False)
    model.features[1].register_forward_hook(lambda *_: None)
    model(torch.randn(4, 3, 8, 8)).sum().backward()
    return model


def raising(error):
    def raises(*_):
        raise error

    return raises


@methods
@pytest.mark.parametrize("smooth", [{}, {"aug_smooth": True}, {"eigen_smooth": True}])
def test_after_success(method, smooth, model):
    before = snapshot(model)
    images = torch.randn(2, 3, 8, 8)
    given = images.clone()
    state = torch.get_rng_state()
    before["random numbers"] = state
    for layers in (model.features, [model.features[0], model.features, model.frozen], None):
        METHODS[method](model, layers)(images, [[0, 1], [2, 3]], **smooth)
    assert equal(snapshot(model), before)
    assert torch.equal(images, given)
    assert not images.requires_grad


@methods
@pytest.mark.parametrize("error", [RuntimeError("broken"), KeyboardInterrupt(), torch.OutOfMemoryError("full")])
@pytest.mark.parametrize("where", ["model", "target", "transform", "without a layer"])
def test_after_an_exception(method, error, where, model):
    cam = METHODS[method](model, None if where == "without a layer" else model.features)
    target = 1
    if where == "target":
        target = raising(error)
    elif where == "transform":
        cam.reshape_transform = raising(error)
    else:
        model.fault = error
    images = torch.randn(2, 3, 8, 8)
    before = snapshot(model)
    with pytest.raises(type(error)):
        cam(images, target)
    assert equal(snapshot(model), before)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
@methods
def test_the_grad_mode_of_the_caller_is_kept(method, mode, model):
    with mode():
        before = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
        METHODS[method](model, model.features)(torch.ones(2, 3, 8, 8))
        model.fault = ValueError("broken")
        with pytest.raises(ValueError, match="broken"):
            METHODS[method](model, model.features)(torch.ones(2, 3, 8, 8))
        assert (torch.is_grad_enabled(), torch.is_inference_mode_enabled()) == before


def test_guided_backpropagation(model):
    images = torch.randn(2, 3, 8, 8)
    before = snapshot(model)
    GuidedBackpropReLUModel(model)(images)
    assert equal(snapshot(model), before)
    model.fault = KeyboardInterrupt()
    before = snapshot(model)
    with pytest.raises(KeyboardInterrupt):
        GuidedBackpropReLUModel(model)(images)
    assert equal(snapshot(model), before)
    assert torch.equal(torch.relu(torch.tensor([-1.0, 1.0])), torch.tensor([0.0, 1.0]))


def test_a_snapshot_notices(model):
    before = snapshot(model)
    for change in (
        lambda: model.frozen.train(),
        lambda: model.fc.weight.requires_grad_(False),
        lambda: model.fc.bias.grad.zero_(),
        lambda: model.frozen.running_mean.add_(1),
        lambda: model.fc.register_forward_hook(lambda *_: None),
        lambda: torch.rand(1),
    ):
        change()
        after = snapshot(model)
        assert not equal(after, before)
        before = after


@methods
@pytest.mark.parametrize("error", [RuntimeError("broken"), KeyboardInterrupt(), torch.OutOfMemoryError("full")])
@pytest.mark.parametrize("passes", [1, 2, 3, 5])
def test_after_an_exception_in_the_middle(method, error, passes, model):
    """Of the first, second, ... forward pass: of methods that run the model again, in the middle of their copies."""
    left = passes

    class Failing(nn.Identity):
        def forward(self, x):
            nonlocal left
            left -= 1
            if left <= 0:
                raise error
            return x

    model.dropout = Failing()
    cam = METHODS[method](
        model, model.features, **({"batch_size": 1} if issubclass(METHODS[method], PerturbationCAM) else {})
    )
    images = torch.randn(2, 3, 8, 8)
    before = snapshot(model)
    fails = passes == 1 or issubclass(METHODS[method], PerturbationCAM)
    if fails:
        with pytest.raises(BaseException, match="broken|full|same scores again|^$") as raised:
            cam(images, 1)
        assert isinstance(raised.value, KeyboardInterrupt) == isinstance(error, KeyboardInterrupt)
    else:
        cam(images, 1)
    assert equal(snapshot(model), before)


@methods
def test_statistics_of_a_batch_norm_in_train_mode_do_not_move(method, model):
    images = torch.randn(2, 3, 8, 8)
    before = {name: value.clone() for name, value in model.named_buffers()}
    METHODS[method](model)(images)
    METHODS[method](model, model.features)(images, aug_smooth=True)
    assert model.features[1].training
    assert all(torch.equal(value, before[name]) for name, value in model.named_buffers())


# Where CPython looks for a signal: at the entry of functions and after calls of built-in ones.
MOMENTS = {"call", "c_return"}


def moments(work, interrupted=0):
    """Run, with Ctrl-C in the given moment of all, counted from 1; how many there were."""
    count = 0

    def look(frame, event, argument):
        nonlocal count
        count += event in MOMENTS
        if count == interrupted:
            sys.setprofile(None)
            raise KeyboardInterrupt

    before = sys.getprofile()
    try:
        sys.setprofile(look)
        work()
    except KeyboardInterrupt:
        pass
    finally:
        sys.setprofile(before)
    return count


def check_interrupts(method, model, step):
    """Interrupt a call in every step-th moment; how many moments that were."""
    cam = METHODS[method](model, model.features)
    images = torch.randn(2, 3, 8, 8)

    def work():
        return cam(images, [[0, 1], [2, 3]])

    maps = work()
    last = moments(work)
    before = snapshot(model)
    for moment in range(1, last, step):
        moments(work, moment)
        if not equal(snapshot(model), before):
            gc.collect()  # what was on its way to be undone may lie in a cycle with the traceback
        assert equal(snapshot(model), before), f"interrupted in moment {moment} of {last}"
    assert np.array_equal(work(), maps)
    return len(range(1, last, step))


unheard = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # in a generator that is freed


@methods
@unheard
def test_ctrl_c_at_any_moment(method, model):
    assert check_interrupts(method, model, step=37) > 20


@methods
@unheard
@pytest.mark.soak
def test_ctrl_c_at_every_moment(method, model, record_property):
    record_property(method, f"interrupted in each of {check_interrupts(method, model, step=1):,} moments of a call")


@unheard
@pytest.mark.skipif(not hasattr(torch.compiler, "set_stance"), reason="came with PyTorch 2.6")
def test_ctrl_c_at_any_moment_leaves_the_stance_of_the_compiler(model):
    """Or whatever is compiled would run uncompiled ever after, without a word."""
    from torch._dynamo import eval_frame

    model.features = torch.compile(model.features, backend="eager")
    cam = METHODS["eigencam"](model, model.frozen)
    images = torch.randn(2, 3, 8, 8)
    cam(images)
    last = moments(lambda: cam(images))
    for moment in range(1, last, 5):
        moments(lambda: cam(images), moment)
        gc.collect(0)
        assert eval_frame._stance.stance == "default", f"interrupted in moment {moment} of {last}"
