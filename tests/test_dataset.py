"""explain_dataset: any loader, the results of single calls, constant memory."""

import gc
import pickle
import weakref

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import pytorch_grad_cam
from pytorch_grad_cam import (
    METHODS,
    AblationCAM,
    BlankMapWarning,
    EigenCAM,
    GradCAM,
    GradCAMPlusPlus,
    LayerCAM,
    XGradCAM,
    explain_dataset,
)
from pytorch_grad_cam.targets import BinaryClassifierOutputTarget, ClassifierOutputSoftmaxTarget, ClassifierOutputTarget
from pytorch_grad_cam.utils.regions import box_from_map
from tests.helpers.tiny_networks import ConvNet

IMAGES = torch.randn(7, 3, 12, 16, generator=torch.Generator().manual_seed(3))
LABELS = torch.tensor([0, 1, 2, 3, 0, 1, 2])


class Named(torch.nn.Module):
    """A model that takes its pictures by the name that Hugging Face gives them."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, pixel_values):
        return self.inner(pixel_values)


NAMES = [f"{index}.png" for index in range(7)]


@pytest.fixture
def cam(model):
    return GradCAM(Named(model), model.features)


def batches(*fields, size=3):
    """A plain iterable of batches, the last one smaller."""
    for start in range(0, len(fields[0]), size):
        batch = tuple(field[start : start + size] for field in fields)
        yield batch if len(batch) > 1 else batch[0]


def assert_explains(results, maps, classes=None):
    results = list(results)
    assert [result.index for result in results] == list(range(len(maps)))
    for result, expected in zip(results, maps, strict=True):
        np.testing.assert_allclose(result.maps if expected.ndim == 3 else result.map, expected, atol=1e-5)
    if classes is not None:
        assert [result.classes for result in results] == classes
    return results


# What a loader may give


@pytest.mark.parametrize(
    "loader",
    [
        lambda: DataLoader(IMAGES, batch_size=3),
        lambda: DataLoader(TensorDataset(IMAGES, LABELS), batch_size=3),
        lambda: DataLoader(TensorDataset(IMAGES, LABELS), batch_size=3, num_workers=2),
        lambda: batches(IMAGES),
        lambda: list(batches(IMAGES, LABELS, NAMES)),
        lambda: ([images, labels] for images, labels in batches(IMAGES, LABELS)),
        lambda: ({"pixel_values": images} for images in batches(IMAGES)),
        lambda: ({"pixel_values": images, "labels": labels} for images, labels in batches(IMAGES, LABELS)),
    ],
)
def test_any_loader_gives_the_maps_of_one_call(cam, loader):
    best = cam.explain(IMAGES)
    results = assert_explains(explain_dataset(cam, loader()), cam(IMAGES))
    for result, classes, scores in zip(results, best.targets.classes, best.scores, strict=True):
        assert (result.method, result.classes, result.warnings) == ("GradCAM", tuple(classes), (None,))
        assert result.scores == pytest.approx(scores.tolist())
        assert result.maps.dtype == np.float32
        np.testing.assert_array_equal(result.boxes, box_from_map(result.maps))
        assert result.seconds > 0


def test_what_else_the_batch_holds_comes_with_each_image(cam):
    results = explain_dataset(cam, batches(IMAGES, LABELS, NAMES))
    assert [result.sample for result in results] == list(zip(LABELS, NAMES, strict=True))
    loader = ({"pixel_values": images, "name": names} for images, names in batches(IMAGES, NAMES))
    assert [result.sample for result in explain_dataset(cam, loader)] == [{"name": name} for name in NAMES]
    assert all(result.sample == () for result in explain_dataset(cam, batches(IMAGES)))


def test_other_tensors_of_a_dict_go_to_the_model():
    class Masked(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.features = torch.nn.Conv2d(3, 5, 3, padding=1)

        def forward(self, pixel_values, mask):
            return (self.features(pixel_values).relu() * mask).mean((2, 3))

    cam = GradCAM(Masked(), "features")
    masks = (torch.rand(7, 1, 12, 16) > 0.5).float()
    loader = ({"pixel_values": images, "mask": mask} for images, mask in batches(IMAGES, masks))
    assert_explains(explain_dataset(cam, loader), cam(pixel_values=IMAGES, mask=masks))


def test_an_empty_loader_and_an_empty_batch(cam):
    assert list(explain_dataset(cam, [])) == []
    assert len(list(explain_dataset(cam, [IMAGES[:0], IMAGES[:2], (IMAGES[:0], [])]))) == 2


@pytest.mark.parametrize("loader", [IMAGES, 3, None, "loader", {"pixel_values": IMAGES}])
def test_no_loader(cam, loader):
    with pytest.raises(TypeError, match="expected a DataLoader"):
        explain_dataset(cam, loader)


@pytest.mark.parametrize("batch", [3, [], "batch", ["a.png"], {"image": IMAGES}, {"pixel_values": [1]}])
def test_no_batch(cam, batch):
    with pytest.raises(TypeError, match="the loader gave .*expected a batch"):
        list(explain_dataset(cam, [batch]))


@pytest.mark.parametrize("cams", [[], None, "gradcam", [GradCAM]])
def test_no_method(cams):
    with pytest.raises(TypeError, match=r"GradCAM\(model\)"):
        explain_dataset(cams, [IMAGES])


# Targets


@pytest.mark.parametrize("target", [2, ClassifierOutputTarget(2)])
def test_one_class_for_all(cam, target):
    assert_explains(explain_dataset(cam, batches(IMAGES), target), cam(IMAGES, 2), [(2,)] * 7)


@pytest.mark.parametrize(
    "loader",
    [
        lambda: batches(IMAGES, LABELS),
        lambda: batches(IMAGES, LABELS.tolist(), NAMES),
        lambda: ({"pixel_values": images, "labels": labels} for images, labels in batches(IMAGES, LABELS)),
        lambda: ({"label": labels, "pixel_values": images} for images, labels in batches(IMAGES, LABELS)),
    ],
)
def test_labels_of_the_batch(cam, loader):
    classes = [(label,) for label in LABELS.tolist()]
    assert_explains(explain_dataset(cam, loader(), "labels"), cam(IMAGES, LABELS), classes)


def test_a_function_of_the_batch_with_several_classes(cam):
    both = [[label, 3 - label] for label in LABELS.tolist()]
    results = explain_dataset(cam, batches(IMAGES, LABELS), lambda batch: torch.stack([batch[1], 3 - batch[1]], 1))
    assert_explains(results, cam(IMAGES, both), [tuple(row) for row in both])


def test_targets_that_are_no_classes(cam):
    target = ClassifierOutputSoftmaxTarget(1)
    results = list(explain_dataset(cam, batches(IMAGES), lambda batch: [target] * len(batch)))
    assert_explains(results, cam(IMAGES, [target] * 7), [None] * 7)
    assert all(0 < result.scores[0] < 1 for result in results)


def test_no_targets(cam):
    with pytest.raises(ValueError, match="'best', expected None, a class"):
        explain_dataset(cam, [IMAGES], "best")
    with pytest.raises(TypeError, match="a list of 1 .*give a function"):
        explain_dataset(cam, [IMAGES], [3])
    for batch in (IMAGES, (IMAGES,), {"pixel_values": IMAGES}):
        with pytest.raises(ValueError, match='"labels", but the loader gave'):
            list(explain_dataset(cam, [batch], "labels"))
    with pytest.raises(IndexError, match="class 9"):
        list(explain_dataset(cam, [(IMAGES, [9] * 7)], "labels"))


# Several methods


@pytest.mark.parametrize("options", [{}, {"aug_smooth": True}, {"eigen_smooth": True}])
def test_several_methods_give_what_each_gives_alone(model, options):
    cams = [method(model, model.features) for method in METHODS.values()]
    results = list(explain_dataset(cams, batches(IMAGES), **options))
    assert [result.index for result in results] == [index for index in range(7) for _ in cams]
    for at, cam in enumerate(cams):
        mine = results[at :: len(cams)]
        assert {result.method for result in mine} == {type(cam).__name__}
        np.testing.assert_allclose([result.map for result in mine], cam(IMAGES, **options), atol=1e-4)


def test_methods_that_weight_by_gradients_share_one_forward_pass(model):
    passes = []
    handle = model.register_forward_hook(lambda *_: passes.append(1))
    layers = model.features
    cams = [method(model, layers) for method in (GradCAM, EigenCAM, LayerCAM, XGradCAM, GradCAMPlusPlus)]
    list(explain_dataset(cams, [IMAGES]))
    assert len(passes) == 2  # EigenCAM reads no gradients, and has its own
    passes.clear()
    list(explain_dataset([GradCAM(model, layers), LayerCAM(model, model.features[0])], [IMAGES]))
    assert len(passes) == 2  # at another layer
    handle.remove()


def test_the_layer_is_chosen_once_for_all_that_share_it(model):
    cams = [GradCAM(model), LayerCAM(model)]
    together = [result.map for result in explain_dataset(cams, batches(IMAGES))]
    assert cams[0].target_layers == cams[1].target_layers == [model.mix]
    for at, method in enumerate((GradCAM, LayerCAM)):
        np.testing.assert_allclose(together[at::2], method(model)(IMAGES), atol=1e-5)
    assert torch.equal(cams[0].outputs, cams[1].outputs)


@pytest.mark.parametrize("layer", [None, "features"])
def test_methods_of_two_models(model, layer):
    other = pickle.loads(pickle.dumps(model))
    with torch.no_grad():
        other.features[0].weight.mul_(-1)
    results = list(explain_dataset([GradCAM(model, layer), GradCAM(other, layer)], [IMAGES]))
    np.testing.assert_allclose([r.map for r in results[1::2]], GradCAM(other, layer)(IMAGES), atol=1e-5)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_the_state_of_the_caller_does_not_matter(model, mode):
    model.train()
    expected = LayerCAM(model, model.features)(IMAGES)
    with mode():
        results = list(explain_dataset([GradCAM(model, model.features), LayerCAM(model, model.features)], [IMAGES]))
    np.testing.assert_allclose([result.map for result in results[1::2]], expected, atol=1e-6)
    assert all(module.training for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


# Warnings


def test_why_a_map_is_blank_stands_with_its_image_and_target(model, recwarn):
    class Half(torch.nn.Module):
        """Class 0 as the model has it, and a class that nothing speaks for."""

        def __init__(self):
            super().__init__()
            self.inner = model

        def forward(self, x):
            scores = self.inner(x)[:, :1]
            return torch.cat([scores, 0 * scores], dim=1)

    results = list(explain_dataset(GradCAM(Half(), model.features), [IMAGES], lambda batch: [[0, 1]] * len(batch)))
    for result in results:
        assert "the score's gradient is 0 everywhere" in result.warnings[1]
        assert (result.warnings[0] is None) == bool(result.maps[0].any())
        assert result.boxes[1].tolist() == [0, 0, 0, 0]
    assert not [warning for warning in recwarn if issubclass(warning.category, BlankMapWarning)]


# One at a time


def test_results_come_as_the_loader_goes(cam):
    taken = []

    def loader():
        for number, batch in enumerate(batches(IMAGES)):
            taken.append(number)
            yield batch

    results = explain_dataset(cam, loader())
    assert taken == []
    next(results)
    assert taken == [0]
    for _ in range(3):
        next(results)
    assert taken == [0, 1]


def test_nothing_is_kept_of_batches_that_have_been_yielded(cam):
    alive = weakref.WeakSet()

    def loader():
        for _ in range(20):
            batch = torch.randn(2, 3, 12, 16)
            alive.add(batch)
            yield batch
            del batch

    most = 0
    for _ in explain_dataset(cam, loader()):
        gc.collect()
        most = max(most, len(alive))
    assert most <= 2  # the one at hand, and the one before as `cam.outputs` and the loader may hold it


def test_a_result_does_not_keep_the_maps_of_its_batch(cam):
    result = next(explain_dataset(cam, [IMAGES]))
    assert result.maps.base is None
    assert result.maps.flags.writeable


def test_a_result_can_be_sent_to_another_process(cam):
    result = next(explain_dataset(cam, batches(IMAGES, LABELS, NAMES)))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(result)).maps, result.maps)


def test_an_error_goes_through_and_ends_it(cam):
    def loader():
        yield IMAGES[:2]
        raise KeyError("of the loader")

    results = explain_dataset(cam, loader())
    assert len([next(results), next(results)]) == 2
    with pytest.raises(KeyError, match="of the loader"):
        next(results)


def test_the_bar_shows_images_per_second_where_asked_for(cam, capsys):
    list(explain_dataset(cam, DataLoader(TensorDataset(IMAGES, LABELS), batch_size=3), progress=True))
    bar = capsys.readouterr().err
    assert "GradCAM: 100%" in bar
    assert "7/7" in bar
    assert "images/s" in bar
    list(explain_dataset([cam, AblationCAM(cam.model, cam.target_layers)], batches(IMAGES), progress=True))
    assert "7 images" in capsys.readouterr().err  # of a loader that does not say how many there are
    list(explain_dataset(cam, batches(IMAGES)))
    assert capsys.readouterr().err == ""  # no terminal


def test_names():
    for name in ("explain_dataset", "ImageResult"):
        assert name in pytorch_grad_cam.__all__


def test_a_method_without_a_layer_does_not_take_the_layer_of_another():
    network, images = ConvNet().eval(), torch.randn(2, 3, 12, 16)
    given, automatic = GradCAM(network, "features.0"), LayerCAM(network)
    results = list(explain_dataset([given, automatic], [images], targets=1))
    expected = LayerCAM(network)
    np.testing.assert_allclose([r.map for r in results[1::2]], expected(images, 1), atol=1e-6)
    assert automatic.target_layers == expected.target_layers != given.target_layers


@pytest.mark.parametrize("names", [("gradcam", "eigencam"), ("eigencam", "gradcam"), ("gradcam", "scorecam")])
def test_several_methods_of_a_model_that_changes_its_input_in_place(names):
    class Model(ConvNet):
        def forward(self, x):
            return super().forward(x.mul_(3).sub_(1))

    model, images = Model().eval(), torch.randn(3, 3, 12, 16)
    cams = [METHODS[name](model, "features") for name in names]
    together = [result.map for result in explain_dataset(cams, [images.clone()], 1)]
    alone = [cam(images.clone(), 1) for cam in cams]
    assert np.allclose(together, np.stack(alone, axis=1).reshape(-1, 12, 16), atol=1e-6)


def test_a_target_of_the_library_is_for_every_image():
    class Binary(ConvNet):
        def forward(self, x):
            return super().forward(x)[:, :1]

    model, images = Binary().eval(), torch.randn(3, 3, 12, 16)
    cam = METHODS["gradcam"](model, "features")
    target = BinaryClassifierOutputTarget(0)
    found = [result.map for result in explain_dataset(cam, DataLoader(images, batch_size=2), target)]
    assert np.allclose(found, cam(images, target), atol=1e-6)


def test_a_target_that_is_none_is_named_in_a_line(cam):
    with pytest.raises(TypeError, match="a target is") as raised:
        list(explain_dataset(cam, [torch.randn(1, 3, 12, 16)], lambda batch: [np.zeros((12, 16, 3)).tolist()]))
    assert len(str(raised.value)) < 300
