"""Batch normalisation folded into convolutions while ScoreCAM scores copies: where it is, and where not."""

import copy
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from pytorch_grad_cam import ScoreCAM

pytestmark = pytest.mark.filterwarnings("ignore::pytorch_grad_cam.BlankMapWarning")


class Net(nn.Module):
    """A convolution and its normalisation, a pair of 1 x 1 after it, a head."""

    axes = 2

    def __init__(self, **options):
        super().__init__()
        torch.manual_seed(0)
        conv, norm = getattr(nn, f"Conv{self.axes}d"), getattr(nn, f"BatchNorm{self.axes}d")
        self.conv, self.norm = conv(4, 8, 3, padding=1, **options), norm(8)
        self.last, self.last_norm = conv(8, 12, 1, bias=False), norm(12, affine=False)
        self.fc = nn.Linear(12, 3)
        for module in (self.norm, self.last_norm):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
        nn.init.normal_(self.norm.weight)
        nn.init.normal_(self.fc.weight)
        self.eval()

    def features(self, x):
        return self.norm(self.conv(x)).relu_()

    def forward(self, x):
        return self.fc(self.last_norm(self.last(self.features(x))).relu_().flatten(2).mean(2))


class Grouped(Net):
    def __init__(self):
        super().__init__(groups=4, bias=False)


class Volume(Net):
    axes = 3


class Signal(Net):
    axes = 1


class ByKeyword(Net):
    def features(self, x):
        x = F.conv2d(input=x, weight=self.conv.weight, bias=self.conv.bias, padding=1)
        norm = self.norm
        return F.batch_norm(
            input=x, running_var=norm.running_var, running_mean=norm.running_mean, weight=norm.weight, bias=norm.bias
        ).relu_()


class ReadTwice(Net):
    def features(self, x):
        x = self.conv(x)
        return self.norm(x).relu_() + x


class ChangedBetween(Net):
    def features(self, x):
        return self.norm(self.conv(x).add_(1)).relu_()


class TwoNorms(Net):
    def __init__(self):
        super().__init__()
        self.other = copy.deepcopy(self.norm)
        self.other.running_mean.add_(1)

    def features(self, x):
        return self.norm(self.conv(x)).relu_() - self.other(self.conv(x)).relu_()


class OwnStatistics(Net):
    """Normalised by the batch's own mean: each copy's score hangs on the others, so there is no right map."""

    def __init__(self):
        super().__init__()
        for module in (self.norm, self.last_norm):
            module.track_running_stats, module.running_mean, module.running_var = False, None, None


class Norms(TorchDispatchMode):
    """Counts normalisations by the size of the batch, which ran."""

    def __init__(self):
        super().__init__()
        self.batches = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if "batch_norm" in str(func):
            self.batches.append(len(args[0]))
        return func(*args, **(kwargs or {}))


def explained(model, batch_size=2, dtype=torch.float32):
    """The explanation, and the sizes of the batches that were normalised."""
    torch.manual_seed(1)
    images = torch.rand(1, 4, *[6] * model.axes).to(dtype)
    with Norms() as norms:
        explanation = ScoreCAM(model.to(dtype), [model.last_norm], batch_size=batch_size).explain(images, 1)
    return explanation, norms.batches


foldable = pytest.mark.parametrize("network", [Net, Grouped, Volume, Signal, ByKeyword])
not_foldable = pytest.mark.parametrize("network", [ReadTwice, ChangedBetween, TwoNorms])


@foldable
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_after_the_first_copies_no_normalisation_runs(network, dtype):
    _, batches = explained(network(), dtype=dtype)
    assert batches == [1, 1, 2, 2], "of the clean image, and of the first two of twelve copies"


@not_foldable
def test_where_the_first_copy_gets_another_score_all_run(network):
    _, batches = explained(network())
    assert batches.count(2) == 6 * batches.index(2), "six times two copies, each like the clean image"


@pytest.mark.parametrize("network", [Net, Grouped, Volume, Signal, ByKeyword, ReadTwice, ChangedBetween, TwoNorms])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_the_weights_are_the_same(network, dtype, tolerance):
    found, _ = explained(network(), dtype=dtype)
    expected, batches = explained(network(), batch_size=100, dtype=dtype)
    assert 12 in batches, "all at once: nothing is folded"
    assert torch.allclose(found.weights[0], expected.weights[0], 0, tolerance)
    assert torch.allclose(found.layer_maps[0], expected.layer_maps[0], 0, 10 * tolerance)


def test_statistics_of_the_batch_are_left_alone():
    _, batches = explained(OwnStatistics())
    assert batches.count(2) == 6 * 2


@pytest.mark.parametrize(("dtype", "tries"), [(torch.float32, [1]), (torch.bfloat16, [])])
def test_half_precision_is_not_tried(dtype, tries):
    model = Net()
    sizes = []
    model.fc.register_forward_hook(lambda _, args, __: sizes.append(len(args[0])))
    explained(model, dtype=dtype)
    assert sizes == [1, 2, *tries, 2, 2, 2, 2, 2]


def test_the_model_and_other_threads_see_nothing_of_it():
    model = Net()
    before = copy.deepcopy(model.state_dict())
    x = torch.rand(3, 4, 6, 6)
    expected = model.features(x)

    def elsewhere():
        with torch.no_grad(), Norms() as norms:
            return torch.equal(model.features(x), expected) and norms.batches

    seen = []
    with ThreadPoolExecutor(1) as pool:
        handle = model.fc.register_forward_hook(lambda *_: seen.append(pool.submit(elsewhere).result()))
        _, batches = explained(model)
        handle.remove()
    assert batches == [1, 1, 2, 2], "it was folded here"
    assert seen == [[3]] * len(seen), "and not there"
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
