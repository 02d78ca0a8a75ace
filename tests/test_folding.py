"""Batch normalisation folded into convolutions while ScoreCAM scores copies: where it is, and where not."""

import copy
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import _pop_mode
from torch.utils._python_dispatch import TorchDispatchMode

from pytorch_grad_cam import ScoreCAM, folding, score_cam

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


@pytest.fixture(autouse=True)
def worth_it(monkeypatch):
    """Pictures of six pixels, too."""
    monkeypatch.setattr(score_cam, "_WORTH_FOLDING", 0)


foldable = pytest.mark.parametrize("network", [Net, Grouped, Volume, Signal, ByKeyword])


@foldable
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_after_the_first_copies_no_normalisation_runs(network, dtype):
    _, batches = explained(network(), dtype=dtype)
    assert batches == [1, 1, 2, 2], "of the clean image, and of the first two of twelve copies"


@pytest.mark.parametrize(("network", "norms"), [(ReadTwice, 1), (ChangedBetween, 1), (TwoNorms, 2)])
def test_an_output_that_something_else_reads_is_not_folded(network, norms):
    _, batches = explained(network())
    assert batches.count(2) == 1 + norms + 6 * norms, "the last pair is folded after the first copies"


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


@pytest.mark.parametrize(("dtype", "tries"), [(torch.float32, [2]), (torch.bfloat16, [])])
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


def weights(model, batch_size, targets=1):
    torch.manual_seed(1)
    images = torch.rand(1, 4, 6, 6)
    return ScoreCAM(model, [model.last], batch_size=batch_size).explain(images, targets).weights[0]


def assert_as_without(model, targets=1, batch_size=2):
    assert torch.allclose(weights(model, batch_size, targets), weights(model, 100, targets), 0, 1e-6)


def first_scores(model, place):
    """Of the first two copies."""
    found = []
    run = model.forward
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "forward", lambda x: found.append(run(x)[:, place]) or run(x))
        weights(model, 100, place)
    return found[1][:2].tolist()


class ReadByAttribute(Net):
    def features(self, x):
        y = self.conv(x)
        return self.norm(y).relu_() + y.mT.mT


class ReadInAList(Net):
    def features(self, x):
        y = self.conv(x)
        return torch.stack([self.norm(y).relu_(), y]).sum(dim=0)


class WithoutBatchAxis(Net):
    """The normalisation takes the convolution's positions for its channels."""

    def __init__(self):
        super().__init__()
        self.unbatched, self.positions = nn.Conv1d(12, 36, 1), nn.BatchNorm1d(36)
        self.fc = nn.Linear(36, 3)
        nn.init.normal_(self.positions.running_mean)
        nn.init.normal_(self.fc.weight)
        self.eval()

    def forward(self, x):
        x = self.last(self.features(x))
        return torch.stack([self.fc(self.positions(self.unbatched(one.flatten(1))).relu().mean(1)) for one in x])


@pytest.mark.parametrize("network", [ReadTwice, ChangedBetween, ReadByAttribute, ReadInAList, WithoutBatchAxis])
@pytest.mark.parametrize("place", range(3))
def test_scores_that_tell_nothing_prove_nothing(network, place):
    model = network()
    limit = max(first_scores(model, place))
    targets = [[lambda o: (o[..., place] - limit).relu(), lambda o: o[..., place] * 0 + 1e6]]
    assert_as_without(model, targets)


class PerImage(Net):
    """Each image takes a way of its own: `is_bright` is a matter of `limit`."""

    limit = 0.0

    def is_bright(self, x):
        return x.mean() > self.limit

    def forward(self, x):
        return torch.cat([super(PerImage, self).forward(image) for image in x.split(1)])


class OtherGain(PerImage):
    def features(self, x):
        norm, gain = self.norm, self.norm.weight * (1 + 5 * x.mean())
        return F.batch_norm(self.conv(x), norm.running_mean, norm.running_var, gain, norm.bias).relu_()


class OtherWeight(PerImage):
    def features(self, x):
        self.conv.weight.copy_(self.conv.weight.sign() * (0.1 + x.mean()))
        return super().features(x)


class OtherNorm(PerImage, TwoNorms):
    def features(self, x):
        return (self.other if self.is_bright(x) else self.norm)(self.conv(x)).relu_()


class SometimesNoNorm(PerImage):
    def features(self, x):
        y = self.conv(x)
        return (y if self.is_bright(x) else self.norm(y)).relu()


class SometimesReadTwice(PerImage):
    def features(self, x):
        y = self.conv(x)
        z = self.norm(y)
        return (z + y if self.is_bright(x) else z).relu()


class SometimesOtherEps(PerImage):
    def features(self, x):
        self.norm.eps = 1.0 if self.is_bright(x) else 1e-5
        return super().features(x)


class SometimesOwnStatistics(PerImage):
    def features(self, x):
        norm, own = self.norm, bool(self.is_bright(x))
        return F.batch_norm(
            self.conv(x), norm.running_mean, norm.running_var, norm.weight, norm.bias, training=own, momentum=0.0
        ).relu_()


class SometimesNormedTwice(PerImage):
    def features(self, x):
        y = self.conv(x)
        z = self.norm(y)
        return (z + self.norm(y).mul_(2) if self.is_bright(x) else z).relu()


class OutOfMemory(ReadTwice):
    passes = 0

    def forward(self, x):
        self.passes += 1
        if self.passes == 3:  # after the clean image and the first copies
            raise torch.OutOfMemoryError("full")
        return super().forward(x)


class Mapped(Net):
    def features(self, x):
        return torch.vmap(lambda image: super(Mapped, self).features(image[None])[0])(x)


class CompiledInside(Net):
    def features(self, x):
        return torch.compile(super().features, fullgraph=True, backend="eager")(x)


@pytest.mark.parametrize("network", [OutOfMemory, Mapped, CompiledInside, WithoutBatchAxis])
def test_models_that_cannot_be_watched_or_folded_run_as_they_are(network):
    assert_as_without(network())


def test_a_user_sees_no_folded_values():
    seen = []
    model = Net()
    model.conv.register_forward_hook(lambda _, args, output: seen.append(float(output.mean())))
    weights(model, 2)
    folded, seen[:] = seen[:], []
    weights(model, 100)
    assert abs(sum(folded) / len(folded) - sum(seen) / len(seen)) < 0.1


class Keeper(Net):
    def features(self, x):
        self.kept = self.conv(x)
        self.kept_of = x
        return self.norm(self.kept).relu()


class WithMask(Net):
    """Beside the scores it returns what is neither a floating-point number nor has one."""

    def forward(self, x):
        scores = super().forward(x)
        return scores, scores > 0, scores.argmax(dim=1), "a name"


def test_outputs_of_any_kind_are_compared():
    _, batches = explained(WithMask())
    assert batches == [1, 1, 2, 2], "folded after the first copies"
    assert_as_without(WithMask())


class KeepsSome(PerImage):
    def features(self, x):
        y = self.conv(x)
        if self.is_bright(x):
            self.kept, self.kept_of = y, x
        return self.norm(y).relu()


class Catches(PerImage):
    def features(self, x):
        y = self.conv(x)
        z = self.norm(y)
        try:
            return (z + y if self.is_bright(x) else z).relu()
        except Exception:
            return z * 0


class OtherData(PerImage):
    def features(self, x):
        if not self.is_bright(x):
            return super().features(x)
        before = self.conv.weight.clone()
        self.conv.weight.data.mul_(5)
        try:
            return super().features(x)
        finally:
            self.conv.weight.data.copy_(before)


class Fails(PerImage):
    def features(self, x):
        z = super().features(x)
        if self.is_bright(x) and z._base is not None:
            raise ValueError("views are not for me")
        return z


@pytest.mark.parametrize("network", PerImage.__subclasses__())
@pytest.mark.parametrize("batch_size", [1, 2])
def test_what_other_copies_do_otherwise_ends_it(network, batch_size):
    model = network()
    means = []
    handle = model.conv.register_forward_pre_hook(lambda _, args: means.append(float(args[0].mean())))
    weights(model, 1)
    handle.remove()
    copies = means[1:]
    model.limit = max(copies[:2])
    assert sum(mean > model.limit for mean in copies[2:]) > 0, "the first take one way, others another"
    assert_as_without(model, batch_size=batch_size)
    if hasattr(model, "kept"):
        weights(model, batch_size)
        assert torch.allclose(model.kept, model.conv(model.kept_of), 0, 1e-6)


class ByScript(Net):
    """A reader that no mode of PyTorch sees."""

    def features(self, x):
        y = self.conv(x)
        return self.norm(y).relu() + doubled(y)


@torch.jit.script
def doubled(y):
    return 2 * y


def test_a_reader_that_is_not_seen_is_found_by_the_outputs():
    for place in range(3):
        model = ByScript()
        limit = max(first_scores(model, place))
        assert_as_without(model, [[lambda o, place=place, limit=limit: (o[..., place] - limit).relu()]])


def test_numbers_are_drawn_as_without_it():
    class Draws(Net):
        def forward(self, x):
            drawn.append(float(torch.rand(())))
            return super().forward(x)

    drawn = []
    weights(Draws(), 2)
    assert len(set(drawn)) == 1 + 6, "the check draws what the next copies draw"


def test_what_a_model_keeps_is_what_its_convolution_gave():
    model = Keeper()
    weights(model, 2)
    assert torch.allclose(model.kept, model.conv(model.kept_of), 0, 1e-6)
    assert not vars(model.kept)


def test_little_work_is_not_worth_it(monkeypatch):
    monkeypatch.undo()
    _, batches = explained(Net())
    assert batches.count(2) == 6 * 2


@pytest.mark.parametrize("name", ["_Watch", "_Folded"])
def test_an_interrupt_between_two_steps_leaves_nothing_at_work(name, monkeypatch):
    class Interrupted(getattr(folding, name)):
        def __enter__(self):
            super().__enter__()
            raise KeyboardInterrupt

    model, x = Net(), torch.rand(2, 4, 6, 6)
    expected = model(x)
    monkeypatch.setattr(folding, name, Interrupted)
    with pytest.raises(KeyboardInterrupt):
        explained(model)
    try:
        with Norms() as norms:
            found = model(x)
        assert torch.equal(found, expected)
        assert norms.batches == [2, 2]
        assert not vars(model.conv(x))
    finally:
        _pop_mode()
