"""Replay gives what whole forward passes give, and where it cannot, whole forward passes are taken."""

import logging
import threading
import weakref

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from pytorch_grad_cam import METHODS, AblationCAM, list_layers
from pytorch_grad_cam._engine.channel_ablation import AblatedCopies
from pytorch_grad_cam._engine.hooks import replace_output
from pytorch_grad_cam._engine.inputs import prepare_inputs
from pytorch_grad_cam._engine.layers import resolve_layers
from pytorch_grad_cam._engine.layouts import find_layout
from pytorch_grad_cam._engine.replay import LayerTail, record
from pytorch_grad_cam.perturbation_cam import PerturbationCAM
from tests.helpers.tiny_networks import ConvNet, GapNet, Network

TORCHVISION = {
    "resnet50": "layer4.-1",
    "vgg16": "features",
    "densenet121": "features",
    "inception_v3": "Mixed_7c",
    "mobilenet_v3_large": "features",
    "convnext_tiny": "features",
    "vit_b_16": "encoder.layers.-1.ln_1",
    "swin_t": "features.7.1.norm1",
}


def silenced_by_hand(model, layer, inputs, channels, transform=lambda x: x, call=1):
    """Scores (n, N) from one whole forward pass for each channel, silenced in place by a hook on a leaf copy."""
    rows = []
    for channel in channels:
        calls = []

        def silence(module, args, output, channel=channel, calls=calls):
            calls.append(1)
            if len(calls) != call:
                return None
            output = output.clone()
            transform(output)[:, channel] = 0  # a view
            return output

        handle = layer.register_forward_hook(silence)
        with torch.no_grad():
            rows.append(model(inputs)[0])
        handle.remove()
    return torch.stack(rows)


@pytest.mark.filterwarnings("ignore:The default weight initialization")
@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision_networks_are_replayed_exactly(name, caplog):
    torch.manual_seed(0)
    model = torchvision.models.get_model(name).eval()
    if name == "vit_b_16":  # its head starts at zero
        nn.init.normal_(model.heads.head.weight, std=0.02)
    model.double()  # so that a difference is no rounding
    (layer,) = resolve_layers(model, TORCHVISION[name])
    inputs = torch.randn(1, 3, *([224] * 2 if name == "vit_b_16" else [128, 160])).double()
    given = prepare_inputs(inputs, {}, model, "inputs")
    with torch.no_grad():
        expected = model(inputs)[0, :5]
        with caplog.at_level(logging.INFO, "pytorch_grad_cam._engine.replay"):
            _, tape = record(model, layer, given)
            tail = LayerTail(model, layer, given, [tape], lambda outputs, _: outputs[:, :5], expected)
        assert not caplog.records, "it fell back"
        transform = find_layout(tail.output, inputs, model, layer)
        copies = AblatedCopies(tail.output, transform, 0.0)
        channels = copies.live[[0, 1, -1]]
        with copies.ablated(channels) as changed:
            found = tail(changed, 3)
    scores = silenced_by_hand(model, layer, inputs, channels, transform)[:, :5]
    weights, by_hand = ((expected - s) / expected.abs() for s in (found, scores))
    assert (weights - by_hand).abs().max() < 1e-9
    assert by_hand.any()


def ablation_by_hand(model, layer, inputs, category, transform=lambda x: x, call=1):
    """The weights (B, C) from whole forward passes."""
    rows = []
    for image in inputs.split(1):
        shape = []
        handle = layer.register_forward_hook(lambda _, __, output, shape=shape: shape.append(transform(output).shape))
        model(image)
        handle.remove()
        channels = range(shape[-1][1])
        score = model(image)[0, category].detach()
        silenced = silenced_by_hand(model, layer, image, channels, transform, call)[:, category]
        rows.append((score - silenced) / score.abs())
    return torch.stack(rows)


def ablation(model, layer, inputs, category):
    return AblationCAM(model, layer).explain(inputs, category).weights[0].flatten(1)


class Counting(ConvNet):
    """Every pass is another function."""

    passes = 0

    def head(self, x):
        self.passes += 1
        return super().head(x) * (1 + self.passes * 1e-2)


class Leaving(nn.Module):
    def __init__(self):
        super().__init__()
        self.left = {}

    def forward(self, x):
        self.left["scale"] = x.square().mean((1, 2, 3)).unsqueeze(1)
        return x


class Remembering(Network):
    """What ran before the layer leaves something behind that is taken after it; a replay does not run it."""

    def __init__(self):
        super().__init__()
        self.stem, self.features_, self.fc = Leaving(), nn.Conv2d(3, 5, 3), nn.Linear(5, 4)

    def features(self, x):
        return self.features_(self.stem(x))

    def head(self, x):
        return self.fc(x.tanh().mean((2, 3)) * self.stem.left.pop("scale"))


class RememberingTwice(Remembering):
    """The layer runs twice, and whole passes are needed: the last call is the one that is replaced."""

    def __init__(self):
        super().__init__()
        self.same = nn.Conv2d(5, 5, 3, padding=1)

    def head(self, x):
        return super().head(self.same(self.same(x).tanh()))


class InPlaceOnWhatWentBefore(Network):
    """The layer's input, which a replay hands out as an expanded view, is changed in place after the layer."""

    def __init__(self):
        super().__init__()
        self.before, self.features_, self.fc = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 6, 1), nn.Linear(6, 4)

    def features(self, x):
        return self.before(x)

    def head(self, x):
        y = self.features_(x)
        return self.fc((F.relu(x, inplace=True) + y).mean((2, 3)))


class Twice(GapNet):
    """The layer runs twice; its last call is the target."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(6, 6, 3, padding=1)

    def head(self, x):
        return super().head(self.conv(self.conv(x).tanh()).tanh())


class OneByOne(GapNet):
    """It takes one image after the other."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(6, 6, 3, padding=1)

    def head(self, x):
        return torch.cat([super(OneByOne, self).head(self.conv(image[None]).tanh()) for image in x])


class Windows(Network):
    """The layer sees four windows of each image as images of their own."""

    def __init__(self):
        super().__init__()
        self.stem, self.features_, self.fc = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 5, 3, padding=1), nn.Linear(5, 4)

    def features(self, x):
        return self.stem(x)

    def head(self, x):
        b, c, h, w = x.shape
        windows = x.reshape(b, c, 2, h // 2, 2, w // 2).permute(0, 2, 4, 1, 3, 5).flatten(0, 2)
        windows = self.features_(windows).tanh()
        return self.fc(windows.mean((2, 3)).reshape(b, 4, 5).square().mean(1))


@pytest.mark.parametrize(
    ("make", "layer", "call"),
    [
        (ConvNet, "features", 1),
        (ConvNet, "features.0", 1),
        (InPlaceOnWhatWentBefore, "features_", 1),
        (Twice, "conv", 2),
        (Remembering, "features_", 1),
        (RememberingTwice, "same", 2),
        (OneByOne, "conv", 1),
    ],
)
def test_weights_equal_those_of_whole_forward_passes(make, layer, call, images):
    model, inputs = make().double().eval(), images.double()[: 1 if make is OneByOne else 3]
    module = model.get_submodule(layer)
    expected = ablation_by_hand(model, module, inputs, 1, call=call)
    assert torch.allclose(ablation(model, module, inputs, 1), expected, atol=1e-12)
    assert expected.abs().max() > 1e-4


@pytest.mark.parametrize(
    ("make", "layer", "said"),
    [
        (Twice, "conv", []),
        (ConvNet, "features.0", []),
        (InPlaceOnWhatWentBefore, "features_", ["replay after Conv2d is not exact"]),
        (Remembering, "features_", ["KeyError", "replay after Conv2d is not exact"]),
        (OneByOne, "conv", ["replay after Conv2d is not exact", "copies of Conv2d's output cannot run at once"]),
    ],
)
def test_where_replay_fails_it_says_so(make, layer, said, images, caplog):
    with caplog.at_level(logging.INFO, "pytorch_grad_cam._engine.replay"):
        ablation(make().eval(), layer, images[:1], 1)
    assert all(words in caplog.text for words in said)
    assert bool(caplog.records) == bool(said)


def test_a_model_that_gives_other_scores_each_time_is_refused(images):
    with pytest.raises(
        RuntimeError, match="does not give the same scores again when Sequential's output is given back"
    ):
        ablation(Counting().eval(), "features", images[:1], 1)


def test_the_fused_encoder_of_torch_runs_its_layers(images):
    """Without hooks it leaves them out; silenced channels would then change nothing."""
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.patches, self.fc = nn.Conv2d(3, 8, 4, stride=4), nn.Linear(8, 4)
            self.encoder = nn.TransformerEncoder(layer, 2)

        def forward(self, x):
            return self.fc(self.encoder(self.patches(x).flatten(2).mT).mean(1))

    model, inputs = Model().double().eval(), images.double()
    # With norms that differ from channel to channel, or their mean over channels would not depend on the input.
    for parameter in model.encoder.parameters():
        nn.init.normal_(parameter)
    for norm in (model.encoder.layers[-1].norm1, model.encoder.layers[0].norm2):
        expected = ablation_by_hand(model, norm, inputs, 1, lambda x: x.mT)
        assert expected.abs().max() > 1e-3
        assert torch.allclose(ablation(model, norm, inputs, 1), expected, atol=1e-10)


def test_a_sequence_first_layer(images):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.patches, self.norm, self.fc = nn.Conv2d(3, 8, 4, stride=4), nn.LayerNorm(8), nn.Linear(8, 4)

        def forward(self, x):
            return self.fc(self.norm(self.patches(x).flatten(2).permute(2, 0, 1)).tanh().mean(0))

    model, inputs = Model().double().eval(), images.double()
    cam = AblationCAM(model, model.norm, lambda x: x.permute(1, 2, 0).reshape(x.shape[1], 8, 3, 4))
    expected = ablation_by_hand(model, model.norm, inputs, 1, lambda x: x.permute(1, 2, 0))
    assert torch.allclose(cam.explain(inputs, 1).weights[0].flatten(1), expected, atol=1e-10)


def test_hooks_of_the_layer_itself_go_over_its_output_once(images):
    model, inputs = ConvNet().double().eval(), images.double()
    model.features.register_forward_hook(lambda _, __, output: F.normalize(output, dim=1))
    expected = ablation_by_hand(model, model.features, inputs, 1)
    assert torch.allclose(ablation(model, model.features, inputs, 1), expected, atol=1e-12)


def test_a_layer_that_is_also_run_as_a_plain_function(images):
    class Model(GapNet):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(6, 6, 3, padding=1)

        def head(self, x):
            return super().head((self.conv.forward(x).sigmoid() + self.conv(x)).tanh())

    model, inputs = Model().double().eval(), images.double()
    expected = ablation_by_hand(model, model.conv, inputs, 1)
    assert torch.allclose(ablation(model, model.conv, inputs, 1), expected, atol=1e-12)


@pytest.mark.parametrize("method", METHODS.values())
def test_a_model_that_changes_its_input_in_place(images, method):
    class Model(ConvNet):
        inplace = True

        def forward(self, x):
            x = x.sub_(0.5).div_(2) if self.inplace else (x - 0.5) / 2
            return super().forward(x)

    maps = []
    for inplace in (True, False):
        torch.manual_seed(0)
        model = Model().double().eval()
        model.inplace = inplace
        maps.append([method(model, layer)(images.double(), 1) for layer in (model.features, None)])
    assert np.allclose(*maps, atol=1e-6)


def test_a_batch_folded_into_another_axis_is_replayed(images, caplog):
    """What ran before on windows is repeated for each copy of the image, in the order of the images."""
    model, inputs = Windows().double().eval(), images.double()
    inner = ConvNet().double().eval()
    model.after = inner.mix
    with caplog.at_level(logging.INFO, "pytorch_grad_cam._engine.replay"):
        found = AblationCAM(model, model.stem).explain(inputs, 1).weights[0].flatten(1)
    assert not caplog.records
    assert torch.allclose(found, ablation_by_hand(model, model.stem, inputs, 1), atol=1e-12)


def test_only_the_tail_runs_for_each_channel(images):
    model, before, after = ConvNet().eval(), [], []
    model.features[0].register_forward_hook(lambda *_: before.append(1))
    model.mix.register_forward_hook(lambda *_: after.append(1))
    AblationCAM(model, model.features, batch_size=1)(images[:1])
    assert len(before) == 1, "the pass itself, which is recorded"
    assert len(after) == 1 + 1 + 5, "and a proof, and one for each of 5 channels"


def test_user_hooks_run_in_a_replay_as_they_do_in_a_pass(images):
    model = ConvNet().double().eval()
    model.features[1].register_forward_hook(lambda _, __, output: output * 2)
    model.mix.register_forward_hook(lambda _, __, output: output + 1)
    inputs = images.double()
    expected = ablation_by_hand(model, model.features[2], inputs, 1)
    assert torch.allclose(ablation(model, model.features[2], inputs, 1), expected, atol=1e-12)


def test_threads_do_not_disturb_each_other(images):
    model = ConvNet().eval()
    expected, plain = ablation(model, model.features, images, 1), model(images).detach()
    found, disturbed, errors = [], [], []

    def explain():
        try:
            found.extend(ablation(model, model.features, images, 1) for _ in range(5))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=explain) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        with torch.no_grad():
            disturbed.append(not torch.equal(model(images), plain))
    assert not errors
    assert len(found) == 20
    assert all(torch.allclose(one, expected, atol=1e-6) for one in found)
    assert not any(disturbed)


def test_a_forward_set_on_the_instance_is_kept(images):
    model = ConvNet().eval()
    original = model.features[1].forward

    def patched(x):
        return original(x) * 2

    model.features[1].forward = patched
    ablation(model, model.features, images, 1)
    assert model.features[1].forward is patched
    assert "forward" not in vars(model.features[0])


@pytest.mark.parametrize("method", METHODS.values())
@pytest.mark.parametrize("layer", ["features", None])
def test_a_model_that_changes_another_argument_in_place(images, method, layer):
    """It is changed once for a call, whatever runs besides, and each run sees it as it was given."""

    class Model(ConvNet):
        def forward(self, x, mask):
            return super().forward(x * mask.mul_(2).sub_(1))

    model = Model().double().eval()
    masks = (images[:, :1] > 0).double()
    given = masks.clone()
    found = method(model, layer)(images.double(), 1, mask=given)
    assert torch.equal(given, masks if isinstance(method(model), PerturbationCAM) else 2 * masks - 1)
    plain = method(ConvNet().double().eval(), layer)
    plain.model.load_state_dict(model.state_dict())
    assert np.allclose(found, plain(images.double() * (2 * masks - 1), 1), atol=1e-4)
    given = masks.clone()
    list_layers(model, images.double(), mask=given)
    assert torch.equal(given, masks)


class KeepsASum(nn.Conv2d):
    """A module that leaves something on itself, as the encoder of a U-Net may its skips."""

    def forward(self, x):
        x = super().forward(x)
        self.kept = x.mean((2, 3)).abs().sum(1, keepdim=True)
        return x


class Gated(Network):
    """What is kept counts only where a channel is silenced, so that no proof with the unchanged output sees it."""

    def __init__(self):
        super().__init__()
        self.stem, self.features_, self.fc = KeepsASum(3, 4, 3), nn.Conv2d(4, 5, 3), nn.Linear(1, 4)
        self.gate = 0.3

    def forward(self, x):
        y = self.features_(self.stem(x).tanh()).tanh().abs().mean((2, 3)).sum(1, keepdim=True)
        self.at = y / self.stem.kept
        return self.fc(torch.maximum(y, self.gate * self.stem.kept))


class GatedTwice(Gated):
    """The second layer stands before what leaves something, and after the first."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 3, 1)

    def forward(self, x):
        return super().forward(self.first(x))


class Cached(Network):
    """The first pass runs the layer once more than those that follow."""

    cache = None

    def __init__(self):
        super().__init__()
        self.features_, self.fc = nn.Conv2d(3, 5, 3), nn.Linear(5, 4)
        self.reference = nn.Parameter(torch.rand(1, 3, 8, 8))

    def pooled(self, x):
        return self.features_(x).tanh().mean((2, 3))

    def forward(self, x):
        if self.cache is None:
            self.cache = self.pooled(self.reference)
        return self.fc(self.pooled(x) * self.cache)


class UnseenInPlace(Network):
    """What the layer returned is changed afterwards, and no version counter says so."""

    def __init__(self):
        super().__init__()
        self.stem, self.features_, self.fc = nn.Conv2d(3, 4, 3), nn.Dropout(), nn.Linear(4, 4)

    def forward(self, x):
        x = self.stem(x)
        x.data.add_(self.features_(x).tanh().sin())
        return self.fc(x.mean((2, 3)))


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("make", [Gated, UnseenInPlace])
def test_what_a_pass_leaves_behind(make, count, images):
    model = make().double().eval()
    inputs = (images * torch.tensor([1, 0.5, 2]).view(3, 1, 1, 1)).double()[:count]
    expected = ablation_by_hand(model, model.features_, inputs, 1)
    assert torch.allclose(ablation(model, model.features_, inputs, 1), expected, atol=1e-12)
    assert expected.abs().max() > 1e-3


def test_what_the_replays_of_one_layer_leave_behind(images):
    model, inputs = GatedTwice().double().eval(), images[:1].double()
    with torch.no_grad():
        model(inputs)
    model.gate = 0.99 * float(model.at)
    weights = AblationCAM(model, [model.first, model.features_], batch_size=1).explain(inputs, 1).weights
    for layer, found in zip((model.first, model.features_), weights, strict=True):
        assert torch.allclose(found.flatten(1), ablation_by_hand(model, layer, inputs, 1), atol=1e-12)


def test_a_layer_that_runs_more_often_in_the_first_pass(images):
    model, inputs = Cached().double().eval(), images[:1].double()
    found = ablation(model, model.features_, inputs, 1)
    assert torch.allclose(found, ablation_by_hand(model, model.features_, inputs, 1), atol=1e-12)
    assert found.any()


def test_a_layer_given_twice(images):
    model, inputs = InPlaceOnWhatWentBefore().double().eval(), images[:1].double()
    expected = ablation_by_hand(model, model.features_, inputs, 1)
    for found in AblationCAM(model, [model.features_] * 2).explain(inputs, 1).weights:
        assert torch.allclose(found.flatten(1), expected, atol=1e-12)


@pytest.mark.parametrize("count", [1, 2])
def test_a_target_that_runs_the_model_itself(images, count):
    model, inputs = ConvNet().double().eval(), images[:count].double()
    reference = torch.randn_like(inputs[:1])
    with torch.no_grad():
        factors = model(reference)[0]

    def target(scores):
        return (scores * model(reference)[0]).sum()

    found = ablation(model, model.features, inputs, target)
    expected = ablation(model, model.features, inputs, lambda scores: (scores * factors).sum())
    assert torch.allclose(found, expected, atol=1e-12)
    assert found.any()


def test_a_target_that_runs_the_model_once(images):
    """What that leaves on the model is not of the image that is explained."""
    model, inputs = Gated().double().eval(), images[:1].double()
    with torch.no_grad():
        model(inputs)
        model.gate = 0.97 * float(model.at)
        baseline = model(0.2 * images[1:2].double())[0]
    cached = []

    def target(scores):
        if not cached:
            cached.append(model(0.2 * images[1:2].double())[0].detach())
        return (scores - cached[0])[1]

    found = ablation(model, model.features_, inputs, target)
    assert torch.equal(cached[0], baseline)
    expected = ablation(model, model.features_, inputs, lambda scores: (scores - baseline)[1])
    assert torch.allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("count", [1, 2])
def test_an_input_changed_in_place_by_every_pass_that_is_recorded(images, count):
    class Model(InPlaceOnWhatWentBefore):
        def forward(self, x):
            return super().forward(x.mul_(2))

    model, inputs = Model().double().eval(), images[:count].double()
    before = inputs.clone()
    found = ablation(model, model.features_, inputs, 1)
    assert torch.equal(inputs, before)
    plain = InPlaceOnWhatWentBefore().double().eval()
    plain.load_state_dict(model.state_dict())
    assert torch.allclose(found, ablation_by_hand(plain, plain.features_, 2 * inputs, 1), atol=1e-12)


def test_what_comes_before_is_kept_though_something_failed_in_between(images):
    """Such as an attempt that the model gives up; nothing of what came before the layer runs again for that."""
    runs = []

    class Failing(nn.Module):
        def forward(self, x):
            raise NotImplementedError

    class Counted(nn.Conv2d):
        def forward(self, x):
            runs.append(1)
            return super().forward(x)

    class Model(GapNet):
        def __init__(self):
            super().__init__()
            self.attempt, self.stem, self.features_ = Failing(), Counted(6, 6, 1), nn.Conv2d(6, 6, 1)

        def head(self, x):
            try:
                x = self.attempt(x)
            except NotImplementedError:
                x = self.stem(x)
            return super().head(self.features_(x.tanh()).tanh())

    model = Model().eval()
    ablation(model, model.features_, images[:1], 1)
    assert len(runs) == 1


def test_a_replacement_that_does_not_happen_is_an_error(images):
    model = ConvNet().eval()
    with (
        pytest.raises(RuntimeError, match="was called 1 times, and its call 2 was"),
        replace_output(model.mix, None, 2),
    ):
        model(images)


def test_an_explanation_does_not_keep_what_came_before_the_layer(images):
    model, seen = ConvNet().eval(), []
    model.features[0].register_forward_hook(lambda _, __, output: seen.append(weakref.ref(output)))
    explanation = AblationCAM(model, model.features[2]).explain(images[:1], 1)
    assert explanation.evidence[0].output is not None
    assert seen
    assert all(reference() is None for reference in seen)


def test_only_the_largest_calls_that_finished_are_kept(images):
    """Inside of a call that will stand for them, what smaller ones return is let go, as in a plain pass."""
    model, alive, most = ConvNet().eval(), weakref.WeakSet(), []

    class Wide(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList(nn.Tanh() for _ in range(9))

        def forward(self, x):
            for layer in self.layers:
                x = layer(x)
                alive.add(x)
                most.append(len(alive))
            return x

    model.mix = nn.Sequential(Wide(), model.mix)
    AblationCAM(model, model.mix[1])(images[:1])
    assert max(most) <= 3
