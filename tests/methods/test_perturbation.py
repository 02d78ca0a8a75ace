"""AblationCAM and ScoreCAM: what they run, how often, and in which portions."""

import gc
import weakref

import numpy as np
import pytest
import torch
from torch import nn

from pytorch_grad_cam import METHODS, AblationCAM, ScoreCAM
from pytorch_grad_cam._engine.channel_ablation import AblatedCopies
from pytorch_grad_cam.perturbation_cam import PerturbationCAM
from tests.helpers.tiny_networks import ConvNet, GapNet, make

methods = pytest.mark.parametrize("method", [m for m in METHODS.values() if issubclass(m, PerturbationCAM)])


def sizes_of_passes(model, layer):
    """A list that gets the batch size of each call of a layer."""
    sizes = []
    layer.register_forward_hook(lambda _, args, __: sizes.append(len(args[0])))
    return sizes


@methods
@pytest.mark.parametrize("network", ["cnn", "tokens", "3d"])
def test_any_batch_size_gives_the_same_map(method, network):
    network, layer, inputs = make(network)
    expected = method(network, layer)(inputs, 1)
    for batch_size in (1, 2, 3, 100):
        assert np.allclose(method(network, layer, batch_size=batch_size)(inputs, 1), expected, atol=1e-6)
    cam = method(network, layer)
    cam.batch_size = 32
    assert np.allclose(cam(inputs, 1), expected, atol=1e-6)


@methods
def test_batch_size_is_how_many_run_at_once(method, model, images):
    sizes = sizes_of_passes(model, model.fc)
    method(model, model.features, batch_size=2)(images[:1])
    assert sizes[-3:] == [2, 2, 1], "5 channels"


@methods
def test_several_classes_cost_one_set_of_passes(method, model, images):
    sizes = sizes_of_passes(model, model.fc)
    one = method(model, model.features)
    one(images, [0, 1, 2])
    cost, sizes[:] = list(sizes), []
    one(images, [[0, 1, 2, 3]] * 3)
    assert sizes == cost


@methods
def test_where_memory_runs_out_the_portion_is_halved(method, model, images):
    model, images, sizes = model.double(), images.double(), []
    expected = method(model, model.features)(images, 1)

    class Small(ConvNet):
        def head(self, x):
            if len(x) > 3:
                raise torch.cuda.OutOfMemoryError("full")
            sizes.append(len(x))
            return super().head(x)

    small = Small().double().eval()
    small.load_state_dict(model.state_dict())
    assert np.allclose(method(small, small.features, batch_size=5)(images, 1), expected, atol=1e-6)
    assert sizes[-3:] == [2, 2, 1]
    with pytest.raises(torch.cuda.OutOfMemoryError):
        method(small, small.features)(images.repeat(2, 1, 1, 1), 1)


@methods
def test_progress_is_shown_where_asked_for(method, model, images, capsys):
    method(model, model.features)(images)
    assert capsys.readouterr().err == "", "no terminal"
    method(model, model.features, progress=True)(images)
    assert f"{method.__name__}:" in capsys.readouterr().err
    method(model, model.features, progress=False)(images)
    assert capsys.readouterr().err == ""


def dead_and_flat():
    network = GapNet().eval()
    conv = network.features[0]
    with torch.no_grad():
        conv.weight[:3], conv.bias[:2], conv.bias[2] = 0, 0, 3
    return network


def test_ablation_of_a_channel_that_is_zero_anyway_costs_nothing(images):
    network = dead_and_flat()
    sizes = sizes_of_passes(network, network.fc)
    weights = AblationCAM(network, network.features, batch_size=1).explain(images[:1]).weights[0].flatten()
    assert sizes[-4:] == [1] * 4
    assert len(sizes) == 1 + 1 + 4, "the pass, the proof, four live channels"
    assert weights[:2].tolist() == [0, 0]
    assert weights[2] != 0, "a flat channel is not a silent one"


def test_ablation_value_is_an_argument(images):
    network = dead_and_flat()
    weights = AblationCAM(network, network.features, ablated_value=3.0).explain(images).weights[0].flatten(1)
    assert (weights[:, 2] == 0).all()
    assert (weights[:, 0] != 0).all()


def test_ablation_weights_of_a_gap_network(images):
    """Without the channel, the score lacks fc weight x mean activation."""
    network = GapNet().double().eval()
    explanation = AblationCAM(network, network.features).explain(images.double(), [[0, 1, 2, 3]] * 3)
    means = explanation.evidence[0].activations.mean((3, 4))
    expected = network.fc.weight.detach() * means / explanation.scores.abs().unsqueeze(2)
    assert torch.allclose(explanation.weights[0].flatten(2), expected, atol=1e-12)
    assert (explanation.scores < 0).any(), "signs do not turn with that of the score"


def test_ablation_leaves_a_class_token_untouched():
    network, layer, inputs = make("tokens")
    seen = []
    handle = network.attention.register_forward_pre_hook(lambda _, args: seen.append(args[0].clone()))
    AblationCAM(network, layer, batch_size=8)(inputs[:1], 1)
    handle.remove()
    plain, silenced = seen[0], seen[-1]
    assert len(silenced) == 8
    assert torch.equal(silenced[:, 0], plain[:, 0].expand(8, -1))
    for channel in range(8):
        assert not silenced[channel, 1:, channel].any()
        others = [c for c in range(8) if c != channel]
        assert torch.equal(silenced[channel, 1:, others], plain[0, 1:, others])


def test_ablation_of_a_layer_with_several_outputs(images):
    class Pair(nn.Module):
        def forward(self, x):
            return {"size": x.shape[2], "other": x.mean((2, 3)), "map": x * 2}

    class Model(GapNet):
        def __init__(self):
            super().__init__()
            self.pair = Pair()

        def head(self, x):
            x = self.pair(x)
            return super().head(x["map"]) + x["other"][:, :4] / x["size"]

    network = Model().double().eval()
    explanation = AblationCAM(network, network.pair, lambda output: output["map"]).explain(images.double(), 1)
    expected = network.fc.weight[1].detach() * explanation.evidence[0].activations.mean((3, 4))[:, 0]
    expected = expected / explanation.scores.abs()
    assert torch.allclose(explanation.weights[0].flatten(1), expected, atol=1e-12)


def test_a_transform_that_mixes_channels_is_refused(model, images):
    with pytest.raises(ValueError, match="reshape_transform mixes channels"):
        AblationCAM(model, model.features, lambda x: x + x.flip(1))(images)
    halved = AblationCAM(model, model.features, lambda x: nn.functional.avg_pool2d(x, 2))(images)
    assert halved.shape == (3, 12, 16), "mixing positions is fine"


def test_flat_channels_are_scored_once(images):
    network = dead_and_flat()
    sizes = sizes_of_passes(network, network.fc)
    explanation = ScoreCAM(network, network.features, batch_size=1).explain(images[:1], 1)
    assert len(sizes) == 1 + 3 + 1, "the pass, three channels, one for all that are flat"
    weights = explanation.weights[0].flatten()
    assert weights[0] == weights[1] == weights[2]
    dark = network(torch.zeros(1, 3, 12, 16))[0, 1]
    assert torch.isclose(weights[0] / weights[3], (dark - network_score(network, images, explanation)).exp(), rtol=1e-4)


def network_score(network, images, explanation):
    mask = explanation.evidence[0].activations[0, 0, 3]
    mask = (mask - mask.min()) / (mask.max() - mask.min())
    return network(images[:1] * mask)[0, 1]


def test_the_most_varied_channels_only(model, images):
    every = ScoreCAM(model, model.features).explain(images, 1)
    two = ScoreCAM(model, model.features, channels=2).explain(images, 1)
    chosen = every.evidence[0].activations[:, 0].flatten(2).var(2).topk(2).indices
    for image in range(3):
        weights = two.weights[0][image].flatten()
        assert sorted(weights.nonzero().flatten().tolist()) == sorted(chosen[image].tolist())
        expected = every.weights[0][image].flatten()[weights > 0]
        assert torch.allclose(weights[weights > 0], expected / expected.sum(), atol=1e-5)
    with pytest.raises(ValueError, match="channels is 0, expected a whole number of at least 1, or None for all"):
        ScoreCAM(model, model.features, channels=0)


def test_ablation_of_the_most_varied_channels_only(model, images):
    every = AblationCAM(model, model.features).explain(images, 1)
    spread = every.evidence[0].activations[:, 0].flatten(2).var(2)
    for options in ({"channels": 2}, {"ratio_channels_to_ablate": 0.3}):
        weights = AblationCAM(model, model.features, **options).explain(images, 1).weights[0].flatten(1)
        chosen = torch.zeros_like(spread).scatter(1, spread.topk(2).indices, 1)
        assert torch.allclose(weights, every.weights[0].flatten(1) * chosen, atol=1e-5)
    with pytest.raises(ValueError, match="ratio_channels_to_ablate is 0, expected a share"):
        AblationCAM(model, model.features, ratio_channels_to_ablate=0)


def test_ablation_as_the_well_known_package_is_told(model, images):
    from pytorch_grad_cam.ablation_layer import AblationLayer

    expected = AblationCAM(model, model.features)(images, 1)
    cam = AblationCAM(
        model=model,
        target_layers=[model.features],
        reshape_transform=None,
        ablation_layer=AblationLayer(),
        batch_size=32,
        ratio_channels_to_ablate=1.0,
    )
    assert np.allclose(cam(input_tensor=images, targets=[1, 1, 1]), expected, atol=1e-6)


def test_score_cam_weights_sum_to_one(model, images):
    weights = ScoreCAM(model, model.features).explain(images, [[0, 3]] * 3).weights[0]
    assert torch.allclose(weights.flatten(2).sum(2), torch.ones(3, 2))


def test_score_cam_streams(model, images):
    """No more masked copies exist at a time than run at a time."""
    seen = []
    model.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape))
    ScoreCAM(model, model.features, batch_size=2)(images)
    assert max(shape[0] for shape in seen[1:]) == 2
    assert len(seen) == 1 + 3 * 3


@methods
def test_autocast_is_honoured(method, model, images):
    seen = []
    model.mix.register_forward_hook(lambda _, __, output: seen.append(output.dtype))
    with torch.autocast("cpu", torch.bfloat16):
        maps = method(model, model.features)(images, 1)
    assert seen[0] == torch.bfloat16
    assert set(seen) == ({torch.bfloat16, torch.float32} if method is AblationCAM else {torch.bfloat16})
    assert maps.dtype == np.float32


@methods
def test_batch_size_must_be_positive(method, model):
    for wrong in (0, 1.5, "3", True):
        with pytest.raises(
            ValueError, match=f"batch_size is {wrong!r}, expected a whole number of at least 1, or None"
        ):
            method(model, model.features, batch_size=wrong)
    cam = method(model, model.features)
    cam.batch_size = -1
    with pytest.raises(ValueError, match="batch_size is -1, expected a whole number"):
        cam(torch.zeros(1, 3, 8, 8))


def test_two_ways_to_limit_channels_are_one_too_many(model):
    with pytest.raises(ValueError, match="two ways to say the same"):
        AblationCAM(model, model.features, channels=2, ratio_channels_to_ablate=0.5)


def test_ablation_copies_survive_in_place_operations_of_any_kind(images):
    """The buffer of silenced copies is made anew where the model has gone over it."""

    class Adding(ConvNet):
        def head(self, x):
            return super().head(x.add_(1).mul_(0.5))

    network = Adding().double().eval()
    expected = AblationCAM(network, network.features, batch_size=1).explain(images.double(), 1).weights[0]
    found = AblationCAM(network, network.features, batch_size=2).explain(images.double(), 1).weights[0]
    assert torch.allclose(found, expected, atol=1e-12)


def test_score_cam_leaves_flat_channels_out_where_channels_are_chosen(images):
    network = dead_and_flat()
    weights = ScoreCAM(network, network.features, channels=2).explain(images, 1).weights[0].flatten(1)
    assert (weights[:, :3] == 0).all()
    assert ((weights > 0).sum(dim=1) == 2).all()


def test_ablation_of_a_score_of_zero(model, images):
    with torch.no_grad():
        model.fc.weight.zero_()
        model.fc.bias.zero_()
    weights = AblationCAM(model, model.features).explain(images, 1).weights[0]
    assert (weights == 0).all()


def test_score_cam_masks_whole_numbers_too(images):
    class Model(ConvNet):
        def forward(self, x):
            return 500 * super().forward(x.float() / 64 - 2)

    model, pictures = Model().eval(), (images * 40 + 128).clamp(0, 255).byte()
    found = ScoreCAM(model, "features").explain(pictures, 1).weights[0]
    expected = ScoreCAM(model, "features").explain(pictures.float(), 1).weights[0]
    assert (found - expected).abs().max() < 0.1 * expected.max()  # the masked copies are rounded to whole numbers


@pytest.mark.parametrize("method", METHODS.values())
@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_a_number_for_all_images_beside_a_single_one(images, method, shape):
    class Model(ConvNet):
        def forward(self, x, temperature):
            return super().forward(x) / temperature

    model = Model().eval()
    found = method(model, "features", batch_size=5)(images[:1], 1, temperature=torch.full(shape, 2.0))
    assert np.allclose(found, method(model, "features")(images[:1], 1, temperature=2.0), atol=1e-6)


def test_where_memory_runs_out_no_large_buffer_stays(model, images):
    output = torch.randn(1, 5, 3, 4)
    copies = AblatedCopies(output, lambda x: x, 0.0)
    large = []

    def fail():
        with copies.ablated(torch.arange(5)) as changed:
            large.append(weakref.ref(changed.untyped_storage()))
            raise torch.OutOfMemoryError("full")

    with pytest.raises(torch.OutOfMemoryError):
        fail()
    gc.collect()
    assert large[0]() is None
    with copies.ablated(torch.arange(2)) as changed:
        assert changed.untyped_storage().nbytes() == 2 * output.nbytes
        assert torch.equal(changed[1, 0], output[0, 0])
        assert not changed[1, 1].any()
