"""The engine: spellings of layer and target, errors, gradients in every setting, records."""

import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import ttach
from torch import nn
from torch.utils.checkpoint import checkpoint

import pytorch_grad_cam
from pytorch_grad_cam import METHODS, EigenCAM, GradCAM
from pytorch_grad_cam.perturbation_cam import PerturbationCAM
from pytorch_grad_cam.targets import ClassifierOutputTarget
from tests.helpers.tiny_networks import ConvNet, GapNet, Tokens

TTA = [ttach.HorizontalFlip(), ttach.Multiply(factors=[0.9, 1, 1.1])]


def same(a, b):
    return np.allclose(a, b, atol=1e-6)


# --- target layers


@pytest.mark.parametrize(
    "layer",
    [
        lambda m: [m.features],
        lambda m: m.features,
        lambda m: "features",
        lambda m: ["features"],
        lambda m: (m.features,),
        lambda m: "features.-1",
        lambda m: ["features.3"],
    ],
)
def test_spellings_of_a_target_layer(model, images, layer):
    expected = GradCAM(model=model, target_layers=[model.features])(input_tensor=images)
    assert np.array_equal(GradCAM(model, layer(model))(images), expected)
    assert np.array_equal(GradCAM(model, target_layer=layer(model))(images), expected)


def test_releases_before_1_5_had_use_cuda_in_third_place(model, images):
    transformed = []

    def transform(x):
        transformed.append(x)
        return x

    expected = GradCAM(model, [model.features])(images)
    assert np.array_equal(GradCAM(model, [model.features], False)(images), expected)
    assert np.array_equal(GradCAM(model, model.features, False, transform)(images), expected)
    assert transformed
    assert np.array_equal(GradCAM(model=model, target_layer=model.features, use_cuda=False)(images), expected)
    assert np.array_equal(GradCAM(model, model.features, False, reshape_transform=transform)(images), expected)
    assert np.array_equal(GradCAM(model, model.features, transform)(images), expected)
    for extra in ([transform, False, True, None, True, 3], [False, transform, False, True, None, True, 3]):
        with pytest.raises(TypeError, match="GradCAM takes model, .*reshape_transform, .* by position, in this order"):
            GradCAM(model, [model.features], *extra)
    with pytest.raises(TypeError, match="reshape_transform was given twice"):
        GradCAM(model, [model.features], transform, reshape_transform=transform)
    with pytest.raises(TypeError, match="reshape_transform is 'relu', expected a function of a layer's output"):
        GradCAM(model, model.features, "relu")


def test_ablation_layer_batch_size_and_ratio_by_position(model):
    for before in ([None], [False, None]):
        cam = METHODS["ablationcam"](model, model.features, *before, object(), 8, 0.5)
        assert (cam.batch_size, cam.ratio_channels_to_ablate) == (8, 0.5)


def test_a_slice_of_a_sequential_is_the_layers_in_it(model, images):
    expected = GradCAM(model, [model.features[2], model.features[3]])(images)
    assert np.array_equal(GradCAM(model, model.features[2:])(images), expected)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_use_cuda_without_a_gpu(model):
    with pytest.raises(RuntimeError, match="use_cuda=True, but PyTorch finds no GPU; leave it out"):
        GradCAM(model, model.features, use_cuda=True)


def test_errors_about_target_layers(model, images):
    with pytest.raises(ValueError, match="ConvNet has no layer 'featurs'; close names: features"):
        GradCAM(model, "featurs")
    with pytest.raises(ValueError, match="has no layer 'features.7'"):
        GradCAM(model, "features.7")
    with pytest.raises(ValueError, match="Conv2d is no part of the model ConvNet; its own layers of that type: .*mix"):
        GradCAM(model, nn.Conv2d(1, 1, 1))
    with pytest.raises(TypeError, match="a target layer is int, expected a module or a name"):
        GradCAM(model, [3])
    with pytest.raises(ValueError, match="target_layers is empty"):
        GradCAM(model, [])
    with pytest.raises(TypeError, match="target_layers is int, expected a module, a name or a list of them"):
        GradCAM(model, 3)
    with pytest.raises(ValueError, match="ModuleList is never called itself; give one of its modules"):
        GradCAM(model, nn.ModuleList([model.mix]))
    with pytest.raises(TypeError, match="target_layers and target_layer are the same argument"):
        GradCAM(model, model.features, target_layer=model.mix)
    with pytest.raises(ValueError, match=r"'fc' gives a tensor \(3, 4\).*expected activations \(3, C, H, W\)"):
        GradCAM(model, model.fc)(images)


def test_a_layer_that_never_runs_is_named(images):
    model = ConvNet().eval()
    model.spare = nn.Conv2d(3, 3, 1)
    for method in METHODS.values():
        with pytest.raises(RuntimeError, match="target layer 'spare' did not run in the forward pass"):
            method(model, model.spare)(images)


@pytest.mark.filterwarnings("ignore:.torch.jit")
def test_errors_about_the_model():
    with pytest.raises(TypeError, match="model is function, expected a torch.nn.Module"):
        GradCAM(lambda x: x)
    with pytest.raises(TypeError, match="ScriptModule"):
        GradCAM(torch.jit.trace(ConvNet(), torch.zeros(1, 3, 8, 8)))


# --- targets


@pytest.mark.parametrize(
    "targets",
    [
        [2, 2, 2],
        (2, 2, 2),
        2,
        np.int64(2),
        np.array([2, 2, 2]),
        torch.tensor([2, 2, 2]),
        torch.tensor(2),
        ClassifierOutputTarget(2),
        [ClassifierOutputTarget(2)] * 3,
        lambda scores: scores[2],
        [lambda scores: scores[2], 2, ClassifierOutputTarget(torch.tensor(2))],
    ],
)
def test_spellings_of_a_target(model, images, targets):
    cam = GradCAM(model, model.features)
    expected = cam(images, [2, 2, 2])
    assert same(cam(images, targets), expected)
    assert same(cam(images, target_category=targets), expected)


def test_none_is_the_best_class_of_each_image(model, images):
    cam = GradCAM(model, model.features)
    assert np.array_equal(cam(images), cam(images, model(images).argmax(1)))


@pytest.mark.parametrize(
    "targets",
    [torch.tensor([[0, 1], [1, 2], [3, 3]]), [[0, 1], [1, 2], [3, 3]], [(0, 1), (1, lambda s: s[2]), np.array([3, 3])]],
)
def test_several_classes_of_an_image(model, images, targets):
    cam = GradCAM(model, model.features)
    maps = cam(images, targets)
    assert maps.shape == (3, 2, 12, 16)
    assert same(maps[:, 0], cam(images, [0, 1, 3]))
    assert same(maps[:, 1], cam(images, [1, 2, 3]))


def test_several_classes_take_one_forward_pass(model, images):
    calls = []
    model.register_forward_pre_hook(lambda *_: calls.append(1))
    GradCAM(model, model.features)(images, [[0, 1, 2]] * 3)
    assert len(calls) == 1


def test_errors_about_targets(model, images):
    cam = GradCAM(model, model.features)
    with pytest.raises(ValueError, match="1 targets for 3 images"):
        cam(images, [ClassifierOutputTarget(1)])
    with pytest.raises(ValueError, match=r"2 targets for 1 images.*\[\[281, 285\]\]"):
        cam(images[:1], [1, 2])
    with pytest.raises(ValueError, match=r"targets are \[1, 2, 1\] for 3 images, expected lists of one length"):
        cam(images, [[0], [1, 2], [3]])
    with pytest.raises(IndexError, match=r"class 999, but the model returned 4 scores \(0 to 3\)"):
        cam(images, 999)
    with pytest.raises(IndexError, match="class -1, but"):
        cam(images, ClassifierOutputTarget(-1))
    with pytest.raises(TypeError, match="a target is 1.5, expected a class index or a callable"):
        cam(images, 1.5)
    with pytest.raises(TypeError, match="a target is True"):
        cam(images, True)
    with pytest.raises(TypeError, match="a target is <class .*ClassifierOutputTarget'>"):
        cam(images, ClassifierOutputTarget)
    assert same(cam(images, range(3)), cam(images, [0, 1, 2]))
    with pytest.raises(
        ValueError, match=r"returned a tensor \(4,\) for an output of a tensor \(4,\), expected a tensor of one"
    ):
        cam(images, lambda scores: scores)
    with pytest.raises(TypeError, match="targets and target_category are the same argument"):
        cam(images, 1, target_category=2)


def test_errors_about_the_input(model, images):
    cam = GradCAM(model, model.features)
    with pytest.raises(TypeError, match="input_tensor is a value of type ndarray, expected a torch.Tensor"):
        cam(images.numpy())
    with pytest.raises(ValueError, match=r"input_tensor has shape \(12, 16\)"):
        cam(images[0, 0])


class Returning(nn.Module):
    def __init__(self, wrap):
        super().__init__()
        self.net = ConvNet()
        self.wrap = wrap

    def forward(self, x):
        return self.wrap(self.net(x))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda y: {"out": y, "aux": y * 0},
        lambda y: {"loss": y.sum(), "logits": y},
        lambda y: SimpleNamespace(logits=y),
        lambda y: (y.unsqueeze(2), y),
        lambda y: [y],
    ],
)
def test_outputs_that_are_no_tensor(images, wrap):
    torch.manual_seed(1)
    model = Returning(wrap).eval()
    expected = GradCAM(model.net, model.net.features)(images)
    assert np.array_equal(GradCAM(model, model.net.features)(images), expected)
    assert same(GradCAM(model, model.net.features)(images, 1), GradCAM(model.net, model.net.features)(images, 1))


def test_an_output_that_holds_no_scores_is_described(images):
    model = Returning(lambda y: {"boxes": y, "names": "abc"}).eval()
    with pytest.raises(TypeError, match=r"model returned dict\(boxes: a tensor \(3, 4\), names: a value of type str\)"):
        GradCAM(model, model.net.features)(images)
    assert EigenCAM(model, model.net.features)(images).shape == (3, 12, 16), "needs no target"


# --- gradients in every setting


@pytest.fixture
def expected(model, images):
    return GradCAM(model, model.features)(images, 1)


def test_frozen_parameters(model, images, expected):
    model.requires_grad_(False)
    assert np.array_equal(GradCAM(model, model.features)(images, 1), expected)


def test_caller_under_no_grad_and_inference_mode(model, images, expected):
    cam = GradCAM(model, model.features)
    with torch.no_grad():
        assert np.array_equal(cam(images, 1), expected)
        assert not torch.is_grad_enabled()
    with torch.inference_mode():
        made_here = images * 1
        assert made_here.is_inference()
        assert np.array_equal(cam(made_here, 1), expected)
        assert torch.is_inference_mode_enabled()
    assert torch.is_grad_enabled()


def test_autocast_of_the_caller_is_honoured(model, images, expected):
    with torch.autocast("cpu", torch.bfloat16):
        explanation = GradCAM(model, model.features).explain(images, 1)
    assert explanation.evidence[0].output.dtype == torch.bfloat16
    assert explanation.maps.dtype == torch.float32
    assert np.abs(explanation.maps[:, 0].numpy() - expected).mean() < 2e-2


def test_an_ancestor_under_no_grad_is_run_again_with_gradients(images):
    class Backbone(nn.Module):
        def __init__(self, net):
            super().__init__()
            self.net = net

        def forward(self, x):
            with torch.no_grad():
                x = self.net.features(x)
            return self.net.head(x)

    net = ConvNet().eval()
    expected = GradCAM(net, net.features)(images, 1)
    for parameters_want_gradients in (True, False):
        model = Backbone(net).requires_grad_(parameters_want_gradients)
        assert np.array_equal(GradCAM(model, "net.features.-1")(images, 1), expected)


def test_no_gradient_is_a_clear_error(images):
    class Detached(GapNet):
        def head(self, x):
            return super().head(x.detach())

    model = Detached().eval()
    with pytest.raises(
        RuntimeError, match="scores do not depend on the output of 'features' in a way that can be diff"
    ):
        GradCAM(model, model.features)(images)
    assert EigenCAM(model, model.features)(images).shape == (3, 12, 16)


def test_only_the_part_after_the_layer_has_a_graph(images):
    model = ConvNet().eval()
    seen = []
    model.features[0].register_forward_hook(lambda _, __, y: seen.append(y.requires_grad))
    model.mix.register_forward_hook(lambda _, __, y: seen.append(y.requires_grad))
    GradCAM(model, model.features)(images)
    assert seen == [False, True]


def test_a_shared_module_gives_its_last_call(images):
    class Shared(GapNet):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(6, 6, 3, padding=1)

        def head(self, x):
            return super().head(self.conv(self.conv(x).relu()).relu())

    model = Shared().double().eval()
    x = images.double()
    second = model.conv(model.conv(model.features(x)).relu()).detach().requires_grad_()
    score = model.fc(second.relu().mean((2, 3)))[:, 1].sum()
    (gradient,) = torch.autograd.grad(score, second)
    evidence = GradCAM(model, model.conv).explain(x, 1).evidence[0]
    assert torch.allclose(evidence.activations[:, 0], second.detach(), atol=1e-15)
    assert torch.allclose(evidence.gradients[:, 0], gradient, atol=1e-15)


@pytest.mark.parametrize("inplace", [True, False])
@pytest.mark.parametrize("add", [True, False])
def test_in_place_operations_after_the_layer(images, inplace, add):
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.fc = nn.Conv2d(3, 6, 3, padding=1), nn.Linear(6, 4)

        def forward(self, x):
            y = self.conv(x)
            if inplace and add:
                y += x[:, :1]
            elif add:
                y = y + x[:, :1]
            y = F.relu(y, inplace=inplace)
            return self.fc(y.square().mean((2, 3)))

    torch.manual_seed(2)
    model = Block().eval()
    explanation = GradCAM(model, model.conv).explain(images, 1)
    assert torch.equal(explanation.evidence[0].output, model.conv(images).detach())
    assert (explanation.evidence[0].output < 0).any()


@pytest.mark.parametrize("method", [GradCAM, EigenCAM])
def test_a_layer_that_returns_its_input(images, method):
    """What is done to the input afterwards, under another name, does not show in the record."""

    class Model(GapNet):
        def __init__(self):
            super().__init__()
            self.same = nn.Identity()

        def head(self, x):
            y = self.same(x)
            x.add_(3)
            return super().head(y.tanh() + 0 * x)

    model = Model().eval()
    evidence = method(model, model.same).explain(images, 1).evidence[0]
    assert torch.equal(evidence.output, model.features(images).detach())


def test_a_graph_is_not_kept_after_the_last_target(model, images):
    class Once(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            saved.append(ctx)
            return gradient * ctx.saved_tensors[0].new_ones(())

    saved = []
    model.mix.register_forward_hook(lambda _, __, output: Once.apply(output))
    GradCAM(model, model.features)(images, [[0, 1]] * 3)
    assert len(saved) == 2
    with pytest.raises(RuntimeError, match="after they have already been freed"):
        list(saved[0].saved_tensors)


def test_overlapping_models_are_held_in_eval_mode_by_both():
    from pytorch_grad_cam._engine.model_state import eval_mode

    model = nn.Sequential(nn.BatchNorm2d(3), nn.ReLU()).train()
    whole, part = eval_mode([model, *model]), eval_mode([model[0]])
    whole.__enter__()
    part.__enter__()
    whole.__exit__(None, None, None)
    assert (model.training, model[0].training) == (True, False)
    part.__exit__(None, None, None)
    assert model[0].training


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.parametrize("use_reentrant", [True, False])
def test_checkpointing_after_and_around_the_layer(images, use_reentrant, expected, model):
    class After(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = model

        def forward(self, x):
            return checkpoint(self.net.head, self.net.features(x), use_reentrant=use_reentrant)

    class Around(After):
        def forward(self, x):
            return self.net.head(checkpoint(self.net.features, x, use_reentrant=use_reentrant))

    if use_reentrant:  # it would write to the parameters' .grad
        with pytest.raises(RuntimeError, match="use_reentrant=False"):
            GradCAM(After(), model.features)(images, 1)
        with pytest.raises(RuntimeError, match="scores do not depend on the output of 'net.features'"):
            GradCAM(Around(), model.features)(images, 1)
    else:
        for wrapper in (After(), Around()):
            assert same(GradCAM(wrapper, model.features)(images, 1), expected)
        assert same(GradCAM(Around(), model.features[1])(images, 1), GradCAM(model, model.features[1])(images, 1))


def test_a_layer_that_returns_several_tensors(images):
    class Pair(nn.Module):
        def forward(self, x):
            return x * 2, x.mean()

    class Model(GapNet):
        def __init__(self):
            super().__init__()
            self.pair = Pair()

        def head(self, x):
            both, mean = self.pair(x)
            return super().head(both) + mean

    model = Model().eval()
    explanation = GradCAM(model, model.pair).explain(images, 1)
    assert isinstance(explanation.evidence[0].output, tuple)
    assert explanation.evidence[0].activations.shape == (3, 1, 6, 12, 16)
    assert torch.allclose(explanation.evidence[0].gradients[0, 0, :, 0, 0], model.fc.weight[1] / 192)
    assert same(GradCAM(model, model.pair, lambda pair: pair[0])(images, 1), explanation.maps[:, 0])


# --- other threads, the context manager, what is kept


def test_calls_from_other_threads_are_not_recorded(model, images):
    cam, stop = GradCAM(model, model.features), threading.Event()
    expected, plain, disturbed = cam(images, 1), model(images).detach(), []

    def run_the_model():
        while not stop.is_set():
            with torch.no_grad():
                output = model(images)
            disturbed.append(output.requires_grad or not torch.equal(output, plain))

    other = threading.Thread(target=run_the_model)
    other.start()
    try:
        for _ in range(50):
            assert np.array_equal(cam(images, 1), expected)
    finally:
        stop.set()
        other.join()
    assert disturbed
    assert not any(disturbed)


def test_threads_that_share_a_model_in_train_mode(images):
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    expected = GradCAM(model, model[2])(images, 1)
    results = []

    def explain():
        for _ in range(20):
            results.append(GradCAM(model, model[2])(images, 1))

    threads = [threading.Thread(target=explain) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 80
    assert all(np.array_equal(result, expected) for result in results)
    assert all(module.training for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_with_swallows_nothing(model, images):
    with pytest.raises(IndexError, match="class 9"), GradCAM(model, model.features) as cam:
        cam(images, 9)
    with GradCAM(model, model.features) as cam:
        assert isinstance(cam, GradCAM)
    assert "__del__" not in dir(GradCAM)


def test_outputs_and_batch_size_are_attributes(model, images):
    cam = GradCAM(model, model.features)
    cam.batch_size = 32
    cam(images)
    assert torch.equal(cam.outputs, model(images))
    assert not cam.outputs.requires_grad


def test_the_record(model, images):
    explanation = GradCAM(model, [model.features, model.mix]).explain(images, [[0, 1]] * 3)
    assert torch.equal(explanation.scores, model(images)[:, :2].detach())
    assert explanation.targets.classes == [[0, 1]] * 3
    assert [tuple(m.shape) for m in explanation.layer_maps] == [(3, 2, 6, 8)] * 2
    assert (explanation.layer_maps[0] < 0).any(), "raw maps are signed"
    assert [tuple(w.shape) for w in explanation.weights] == [(3, 2, 5, 1, 1), (3, 2, 7, 1, 1)]
    assert [e.layer for e in explanation.evidence] == [model.features, model.mix]
    assert explanation.maps.shape == (3, 2, 12, 16)


def test_aug_smooth_is_the_mean_over_flips_and_brightness(model, images):
    cam = GradCAM(model, model.features)
    classes = model(images).argmax(1)
    maps = [cam(images * f, classes) for f in (0.9, 1, 1.1)]
    maps += [cam(images.flip(3) * f, classes)[..., ::-1] for f in (0.9, 1, 1.1)]
    assert same(cam(images, aug_smooth=True), np.mean(maps, axis=0))
    assert cam(images, [[0, 1]] * 3, aug_smooth=True, eigen_smooth=True).shape == (3, 2, 12, 16)


def test_other_transforms_for_aug_smooth(model, images):
    import ttach

    transforms = ttach.Compose([ttach.VerticalFlip(), ttach.Rotate90([0, 180])])
    cam = GradCAM(model, model.features, tta_transforms=transforms)
    classes = model(images).argmax(1)
    maps = []
    for axes in ((), (2, 3), (2,), (3,)):  # a turn by 180 degrees flips both axes
        maps.append(GradCAM(model, model.features)(images.flip(axes), classes))
        maps[-1] = np.flip(maps[-1], [axis - 1 for axis in axes])
    assert same(cam(images, aug_smooth=True), np.mean(maps, axis=0))


def test_outputs_after_aug_smooth_are_those_of_the_clean_images(model, images):
    cam = GradCAM(model, model.features)
    cam(images, aug_smooth=True)
    assert torch.equal(cam.outputs, model(images))
    with pytest.raises(ValueError, match="tta_transforms is empty"):
        GradCAM(model, model.features, tta_transforms=[])(images, aug_smooth=True)


@pytest.mark.parametrize(
    ("size", "sizes"), [(32, [1, 5]), (300, [1, 3, 2]), (1000, [1, 1, 1, 1, 1, 1])], ids=["small", "larger", "large"]
)
def test_aug_smooth_explains_as_many_copies_at_once_as_a_cache_has_room_for(model, size, sizes):
    images = torch.rand(2, 3, size, size)
    found = []
    handle = model.register_forward_hook(lambda module, args, output: found.append(len(args[0])))
    alone = GradCAM(model, model.features)(images[:1], [[2, 0]], aug_smooth=True)
    handle.remove()
    assert found == sizes
    with_another = GradCAM(model, model.features)(images, [[2, 0]] * 2, aug_smooth=True)
    assert same(alone[0], with_another[0])


@pytest.mark.parametrize("method", METHODS)
def test_aug_smooth_of_a_network_that_takes_one_image_only(model, images, method):
    class One(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = model

        def forward(self, x):
            return self.network(x.reshape(1, *images.shape[1:]))

    options = {"batch_size": 1} if issubclass(METHODS[method], PerturbationCAM) else {}
    alone = METHODS[method](One().eval(), model.features, **options)(images[:1], 1, aug_smooth=True)
    assert np.allclose(alone, METHODS[method](model, model.features)(images[:1], 1, aug_smooth=True), atol=1e-4)


@pytest.mark.parametrize("rows", [2, 5])
def test_aug_smooth_leaves_an_argument_for_all_images_whole(images, rows):
    """Of as many rows as there are copies, it is no argument for each of them."""

    class Prompted(nn.Module):
        def __init__(self):
            super().__init__()
            self.features, self.fc = nn.Conv2d(3, 5, 3), nn.Linear(5, 4)

        def forward(self, x, prompts):
            return self.fc(self.features(x).tanh().mean((2, 3))) @ prompts.mT

    model, prompts = Prompted().eval(), torch.randn(rows, 4)
    cam = METHODS["scorecam"](model, "features")
    maps = cam(images[:1], rows - 1, prompts=prompts, aug_smooth=True)
    copies = [t.augment_image(images[:1]) for t in ttach.Compose(TTA)]
    expected = [
        t.deaugment_mask(torch.tensor(cam(copy, rows - 1, prompts=prompts))[None])[0]
        for t, copy in zip(ttach.Compose(TTA), copies, strict=True)
    ]
    assert same(maps, torch.stack(expected).mean(0).numpy())


def test_aug_smooth_by_copies_of_several_sizes(model, images):
    transforms = ttach.Compose([ttach.Scale([1, 2], interpolation="nearest"), ttach.HorizontalFlip()])
    cam = GradCAM(model, model.features, tta_transforms=transforms)
    assert same(cam(images[:1], 1, aug_smooth=True)[0], cam(images, 1, aug_smooth=True)[0])


def test_aug_smooth_is_for_pictures():
    model = ConvNet(axes=1).eval()
    with pytest.raises(
        ValueError, match=r"aug_smooth takes images \(B, C, H, W\), and the input is a tensor \(2, 3, 20\)"
    ):
        GradCAM(model, model.features)(torch.randn(2, 3, 20), aug_smooth=True)


# --- no layer given


def test_the_layer_is_found(images):
    model = ConvNet().eval()
    cam = GradCAM(model)
    assert np.array_equal(cam(images), GradCAM(model, model.mix)(images))
    assert cam.target_layers == [model.mix]
    tokens = Tokens().eval()
    assert same(GradCAM(tokens)(images[:, :, :, :12]), GradCAM(tokens, tokens.norm)(images[:, :, :, :12]))


def test_a_network_without_positions():
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3)).eval()
    with pytest.raises(ValueError, match="Sequential has no layer that keeps positions"):
        GradCAM(model)(torch.randn(1, 3, 2, 2))


@pytest.mark.parametrize("method", METHODS.values())
@pytest.mark.parametrize("way", ["by name", "its own buffer"])
def test_a_layer_whose_output_others_hold_too(images, method, way):
    """An in-place operation on what the layer was given by name, or keeps, does not show in the map."""

    class Keeps(nn.Conv2d):
        def forward(self, x):
            self.kept = super().forward(x)
            return self.kept

    class Model(GapNet):
        def __init__(self):
            super().__init__()
            self.drop, self.keeps = nn.Dropout(), Keeps(6, 6, 1)
            self.inplace = True

        def head(self, x):
            y = (self.drop(input=x) if way == "by name" else self.keeps(x)).tanh()
            if self.inplace:
                (x if way == "by name" else self.keeps.kept).sin_()
            return super().head(y)

    torch.manual_seed(1)
    model = Model().eval()
    layer = model.drop if way == "by name" else model.keeps
    several = [model.features, layer]
    found = [method(model, layers)(images, 1) for layers in (layer, several)]
    model.inplace = False
    assert np.allclose(found, [method(model, layers)(images, 1) for layers in (layer, several)], atol=1e-6)


def test_two_layers_of_which_one_stands_in_no_grad(images):
    """Where a part of the network switches gradients off, every path from the earlier layer still counts."""

    class Stem(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.side = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 5, 1)

        def forward(self, x):
            with torch.no_grad():
                y = self.inner(x)
                return y, self.side(y).relu()

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.late, self.fc = Stem(), nn.Conv2d(6, 5, 3, padding=1), nn.Linear(5, 4)

        def forward(self, x):
            y, side = self.stem(x)
            return self.fc((self.late(y.tanh()).sigmoid() + 0.3 * side).mean((2, 3)))

    model = Model().double().eval()
    x = images.double()
    y = model.stem.inner(x).detach().requires_grad_()
    score = model.fc((model.late(y.tanh()).sigmoid() + 0.3 * model.stem.side(y).relu()).mean((2, 3)))[:, 1].sum()
    (gradient,) = torch.autograd.grad(score, y)
    for layers in ([model.stem.inner], [model.stem.inner, model.late], [model.late, model.stem.inner]):
        evidence = {e.layer: e for e in GradCAM(model, layers).explain(x, 1).evidence}
        assert torch.allclose(evidence[model.stem.inner].gradients[:, 0], gradient, atol=1e-14)


@pytest.mark.parametrize("method", METHODS.values())
@pytest.mark.parametrize("layer", ["features", None])
def test_targets_that_can_be_read_once(model, images, method, layer):
    expected = method(model, "features")(images, [0, 1, 2])
    assert np.array_equal(method(model, "features")(images, (c for c in range(3))), expected)
    found = method(model, layer)(images, {"a": 0, "b": 1, "c": 2}.values())
    assert np.array_equal(found, method(model, layer)(images, [0, 1, 2]))


@pytest.mark.parametrize("method", METHODS.values())
def test_a_layer_whose_output_hides_its_tensors(images, method):
    class Hidden:
        def __init__(self, tensor):
            self.tensor = tensor

    class Hides(nn.Conv2d):
        def forward(self, x):
            return Hidden(super().forward(x))

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.hides, self.fc = Hides(3, 6, 3), nn.Linear(6, 4)

        def forward(self, x):
            return self.fc(self.hides(x).tensor.relu_().mean((2, 3)))

    with pytest.raises(ValueError, match=r"'hides' gives .*Hidden, in which no tensor is found; take a layer inside"):
        method(Model().eval(), "hides", reshape_transform=lambda x: x.tensor)(images, 1)


def test_a_container_that_is_called(images):
    """As the backbone of torchvision's segmentation models, which returns its stages by name."""

    class Backbone(nn.ModuleDict):
        def forward(self, x):
            return {"high": self["conv"](x)}

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone, self.fc = Backbone({"conv": nn.Conv2d(3, 6, 3)}), nn.Linear(6, 4)

        def forward(self, x):
            return self.fc(self.backbone(x)["high"].mean((2, 3)))

    model = Model().eval()
    found = GradCAM(model, model.backbone, reshape_transform=lambda out: out["high"])(images, 1)
    assert np.array_equal(found, GradCAM(model, model.backbone["conv"])(images, 1))


def test_a_subclass_that_overrides_nothing(model, images):
    class Empty(pytorch_grad_cam.BaseCAM):
        pass

    with pytest.raises(NotImplementedError, match=r"Empty must override channel_weights\(evidence\), or layer_map"):
        Empty(model, "features")(images)


@pytest.mark.parametrize("shape", [(3, 5), (3, 1, 5), (3, 1, 4, 1, 1), (3, 1, 5, 2, 2), (1, 1, 5, 1, 1), (3, 5, 6, 8)])
def test_weights_of_a_wrong_shape_are_an_error(model, images, shape):
    class Wrong(pytorch_grad_cam.BaseCAM):
        def channel_weights(self, evidence):
            return torch.ones(shape)

    with pytest.raises(ValueError, match=r"channel_weights of Wrong returned \(.* expected \(3, K, 5, 1, 1\) or"):
        Wrong(model, "features")(images)


def test_a_layer_map_of_a_wrong_shape_is_an_error(model, images):
    class Wrong(GradCAM):
        def reduce(self, weighted):
            return weighted.sum(dim=3)

    with pytest.raises(ValueError, match=r"layer map of Wrong is \(3, 1, 5, 8\); expected \(3, K, 6, 8\)"):
        Wrong(model, "features")(images)


def test_a_step_can_be_overridden(model, images):
    class Worst(GradCAM):
        def default_targets(self, outputs):
            return outputs.argmin(dim=1)

    class Largest(GradCAM):
        def fuse(self, layer_maps, size):
            return super().fuse(layer_maps[-1:], size)

    worst = model(images).argmin(dim=1)
    assert np.array_equal(Worst(model, "features")(images), GradCAM(model, "features")(images, worst))
    assert not np.array_equal(GradCAM(model, "features")(images), GradCAM(model, "features")(images, worst))
    assert np.array_equal(Largest(model, ["mix", "features"])(images), GradCAM(model, "features")(images))


def test_what_a_method_did_not_ask_for_is_an_error(model, images):
    class Gradients(pytorch_grad_cam.BaseCAM):
        derivatives = 0

        def channel_weights(self, evidence):
            return evidence.gradients

    with pytest.raises(AttributeError, match="derivatives = 1"):
        Gradients(model, "features")(images)
