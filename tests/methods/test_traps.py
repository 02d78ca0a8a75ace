"""What users of CAM libraries trip over, one test for each trap; details are proved in the other files."""

import gc
import inspect
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pytorch_grad_cam import METHODS, BlankMapWarning, EigenCAM, GradCAM, GuidedBackpropReLUModel
from pytorch_grad_cam.targets import ClassifierOutputTarget
from pytorch_grad_cam.utils.image import show_cam_on_image
from tests.helpers.tiny_networks import NAMES, ChannelsLast, ConvNet, GapNet, Tokens, make

methods = pytest.mark.parametrize("method", METHODS)
pytestmark = pytest.mark.filterwarnings("ignore::pytorch_grad_cam.BlankMapWarning")


def same(a, b):
    return np.allclose(a, b, atol=1e-5)


@methods
@pytest.mark.parametrize("network", [Tokens, ChannelsLast])
def test_a_transformer_needs_no_reshape_transform(method, network):
    model, images = network().eval(), torch.randn(3, 3, 16, 16)
    maps = METHODS[method](model, model.norm)(images, 1)
    assert np.array_equal(maps, METHODS[method](model, model.norm, model.to_activations)(images, 1))


def test_a_layer_after_the_last_attention_of_a_vit_is_an_error_that_names_another():
    class ViT(Tokens):
        def __init__(self):
            super().__init__()
            self.last = nn.LayerNorm(8)

        def head(self, x):
            return self.fc(self.last(x + self.attention(x, x, x)[0])[:, 0])

    model = ViT().eval()
    with pytest.raises(ValueError, match="no gradient reaches the 4 x 4 positions of target layer 'last'.*take 'norm'"):
        GradCAM(model, model.last)(torch.randn(2, 3, 16, 16))


@methods
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_frozen_weights_and_any_mode_of_the_caller(method, mode, model, images):
    expected = METHODS[method](model, model.features)(images, 1)
    model.requires_grad_(False)
    with mode():
        assert same(METHODS[method](model, model.features)(images * 1, 1), expected)


@methods
def test_one_target_for_a_batch_counts_for_all_and_a_wrong_count_is_an_error(method, model, images):
    images = images.double()
    cam = METHODS[method](model.double(), model.features)
    assert same(cam(images, 1), np.concatenate([cam(images[i : i + 1], 1) for i in range(3)]))
    with pytest.raises(ValueError, match="1 targets for 3 images"):
        cam(images, [ClassifierOutputTarget(1)])


@methods
def test_every_spelling_of_every_release(method, model, images):
    one = METHODS[method]
    expected = one(model=model, target_layers=[model.features])(
        input_tensor=images, targets=[ClassifierOutputTarget(1)] * 3
    )
    assert same(one(model=model, target_layer=model.features, use_cuda=False)(images, target_category=1), expected)
    cam = one(model, [model.features], False)
    assert same(cam(images, 1), expected)
    cam.activations_and_grads.release()
    assert same(cam(images, 1), expected)
    assert cam.activations_and_grads(images).shape == (3, 4), "it can be called, too"


def test_a_blank_map_says_why(model, images):
    nn.init.zeros_(model.fc.weight)
    with pytest.warns(BlankMapWarning, match="gradient is 0 everywhere at layer 'features'"):
        maps = GradCAM(model, model.features)(images)
    assert not maps.any()


@methods
def test_with_swallows_nothing_and_a_class_out_of_range_is_an_error(method, model, images):
    with (
        pytest.raises(IndexError, match=r"class 999, but the model returned 4 scores \(0 to 3\)"),
        METHODS[method](model, model.features) as cam,
    ):
        cam(images, 999)


@methods
@pytest.mark.parametrize(
    "wrap", [lambda y: (y, y.sum()), lambda y: [y], lambda y: {"out": y}, lambda y: SimpleNamespace(logits=y)]
)
def test_outputs_that_are_tuples_lists_dicts_or_objects(method, wrap, images):
    class Wrapped(ConvNet):
        def forward(self, x):
            return wrap(super().forward(x))

    model = Wrapped().eval()
    assert METHODS[method](model, model.features)(images).shape == (3, 12, 16)


@methods
def test_several_inputs_and_keywords(method, images):
    class Two(ConvNet):
        def forward(self, x, scale, *, shift):
            return super().forward(x) * scale + shift

    model = Two().eval()
    cam = METHODS[method](model, model.features)
    maps = cam((images, 2), 1, shift=0.5)
    assert same(maps, cam({"x": images, "scale": 2}, 1, shift=0.5))
    assert same(maps, METHODS[method](model, "features")(images, 1, scale=2, shift=0.5))


@methods
def test_no_hook_and_no_tensor_stays_behind(method, model, images):
    def tensors():
        gc.collect()
        return sum(issubclass(type(one), torch.Tensor) for one in gc.get_objects())

    cam = METHODS[method](model, model.features)
    cam(images, 1)
    before = tensors()
    for _ in range(3):
        cam(images, 1)
    assert tensors() == before
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@methods
def test_in_place_operations_after_the_layer_do_not_reach_the_record(method):
    maps = []
    for name in ("cnn", "in-place"):
        network, layer, images = make(name)
        maps.append(METHODS[method](network, layer)(images, 1))
    assert np.array_equal(*maps)


@methods
def test_the_model_is_as_it_was(method, model, images):
    model.train()
    model.fc.weight.grad = torch.ones_like(model.fc.weight)
    modules = [id(module) for module in model.modules()]
    METHODS[method](model, model.features)(images, 1)
    with pytest.raises(ZeroDivisionError):
        METHODS[method](model, model.features)(images, lambda scores: scores[0] / (1 // 0))
    assert all(module.training for module in model.modules())
    assert torch.equal(model.fc.weight.grad, torch.ones_like(model.fc.weight))
    assert [id(module) for module in model.modules()] == modules


def test_raw_signed_values_can_be_had(model, images):
    raw = GradCAM(model, model.features).explain(images, 1).layer_maps[0]
    assert (raw < 0).any()
    assert (raw > 0).any()


@methods
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_models_give_float32_maps(method, dtype, model, images):
    maps = METHODS[method](model.to(dtype), model.features)(images.to(dtype), 1)
    assert maps.dtype == np.float32
    assert np.isfinite(maps).all()


@methods
@pytest.mark.parametrize("network", NAMES)
def test_one_two_and_three_axes(method, network):
    model, layer, images = make(network)
    assert METHODS[method](model, layer)(images, 1).shape == (3, *images.shape[2:])


def test_the_sign_of_eigencam_is_that_of_the_channel_sum(images):
    model = GapNet().eval()
    explanation = EigenCAM(model, model.features).explain(images)
    raw, summed = explanation.layer_maps[0][:, 0], explanation.evidence[0].activations[:, 0].sum(1)
    summed = summed - summed.mean((1, 2), keepdim=True)
    assert ((raw * summed).sum((1, 2)) > 0).all()


@methods
def test_layers_are_not_mixed_up_whatever_their_order(method, model, images):
    late, early = model.mix, model.features
    maps = METHODS[method](model, [late, early])(images, 1)
    assert same(maps, METHODS[method](model, [early, late])(images, 1))


@pytest.mark.parametrize("method", ["scorecam", "ablationcam"])
def test_no_progress_bar_but_on_a_terminal_or_where_asked_for(method, model, images, capsys):
    METHODS[method](model, model.features)(images, 1)
    METHODS[method](model, model.features, progress=False)(images, 1)
    assert capsys.readouterr().err == ""
    METHODS[method](model, model.features, progress=True)(images, 1)
    assert METHODS[method].__name__ in capsys.readouterr().err


@methods
def test_data_parallel_explains_the_whole_batch(method, model, images):
    expected = METHODS[method](model, model.features)(images, 1)
    assert same(METHODS[method](nn.DataParallel(model), "features")(images, 1), expected)


@methods
def test_the_augmented_copies_are_explained_for_the_class_of_the_clean_image(method, model, images):
    cam = METHODS[method](model, model.features)
    classes = model(images).argmax(1)
    assert same(cam(images, aug_smooth=True), cam(images, classes, aug_smooth=True))


def test_overlays_say_what_is_wrong_with_a_picture_or_a_map():
    grey, mask = np.full((8, 10, 3), 0.2, np.float32), np.zeros((8, 10), np.float32)
    assert show_cam_on_image(grey, mask).shape == (8, 10, 3)
    for img, other, said in [
        (grey.transpose(2, 0, 1), mask, "channels come last"),
        (grey * 255, mask, "divide 8-bit values by 255"),
        (grey, mask[:4], "expected the same: resize the map"),
        (grey, mask + np.nan, "mask lies in"),
        (grey, mask[None], "take one of a batch"),
    ]:
        with pytest.raises(ValueError, match=said):
            show_cam_on_image(img, other)


def test_guided_backpropagation_knows_functional_relus_and_the_whole_batch(images):
    class Functional(GapNet):
        def forward(self, x):
            return self.head(F.relu(self.features[0](x)))

    torch.manual_seed(1)
    modules = GapNet().eval()
    functional = Functional().eval()
    functional.load_state_dict(modules.state_dict())
    gradients = GuidedBackpropReLUModel(functional)(images, 1)
    assert gradients.shape == (3, 12, 16, 3)
    assert np.array_equal(gradients, GuidedBackpropReLUModel(modules)(images, 1))


@pytest.mark.filterwarnings("ignore:.torch.jit")
def test_a_script_module_is_refused_and_a_compiled_one_explained(model, images):
    with pytest.raises(TypeError, match="ScriptModule, whose layers cannot be observed; give the nn.Module"):
        GradCAM(torch.jit.trace(model, images))
    expected = GradCAM(model, model.features)(images, 1)
    assert np.array_equal(GradCAM(torch.compile(model), "features")(images, 1), expected)


def test_a_layer_of_another_model_and_one_without_positions_are_errors(model, images):
    with pytest.raises(ValueError, match="Conv2d is no part of the model ConvNet; its own layers of that type"):
        GradCAM(model, ConvNet().mix)
    with pytest.raises(ValueError, match="'fc' gives a tensor .* take a layer before the pooling"):
        GradCAM(model, model.fc)(images)


def test_a_bare_module_for_a_list(model, images):
    assert same(GradCAM(model, model.features)(images), GradCAM(model, [model.features])(images))
    assert not any("__del__" in vars(one) for one in inspect.getmro(GradCAM))


@methods
def test_values_that_are_no_numbers_never_become_a_map(method, model, images):
    images[1] = torch.nan
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        maps = METHODS[method](model, model.features)(images, 1)
    assert [warning.category for warning in caught] == [BlankMapWarning]
    assert np.isfinite(maps).all()
