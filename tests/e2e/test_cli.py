"""The command line, run for real: what it writes, says and refuses."""

import functools
import hashlib
import os
import pickle
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from pytorch_grad_cam import METHODS, GradCAM, GuidedBackpropReLUModel, list_layers
from pytorch_grad_cam.cli import main
from pytorch_grad_cam.cli.networks import Preset, load_network
from pytorch_grad_cam.demo import network as demo
from pytorch_grad_cam.demo.scenes import CLASSES, example_scene
from pytorch_grad_cam.utils.image import deprocess_image, show_cam_on_image
from pytorch_grad_cam.utils.image_files import encode_jpeg
from tests.conftest import use_proxy

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
SMALL = "shufflenet_v2_x0_5"
RANDOM = ("--model", SMALL, "--weights", "random")
SUFFIXES = ("_cam.jpg", "_cam_gb.jpg", "_gb.jpg")


@pytest.fixture
def refused(cli):
    """Run what must fail: one line on standard error, exit code 2, nothing written. Gives the line."""

    def run(*arguments, **options):
        result = cli(*arguments, **options)
        assert result.code == 2
        assert re.fullmatch(r"(cam\.py|grad-cam): error: .+\n", result.err)
        assert result.out == ""
        assert not result.folder.exists()
        return result.err

    return run


@pytest.fixture
def photograph(tmp_path):
    """A picture that is not square and has detail everywhere."""
    coarse = np.random.default_rng(1).integers(0, 256, (8, 12, 3), np.uint8)
    path = tmp_path / "photograph.png"
    Image.fromarray(coarse).resize((300, 200), Image.Resampling.BICUBIC).save(path)
    return path


def pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture)


def as_jpeg(array):
    (path := Path("expected.jpg")).write_bytes(encode_jpeg(array))
    return pixels(path)


def seen(network, path):
    """The picture as the network sees it, in [0, 1], and its input."""
    with Image.open(path) as picture:
        inputs = network.preset.to_input(picture.convert("RGB"))
    return network.preset.to_rgb(inputs), inputs


# What it does with nothing said


def test_alone_it_explains_the_bundled_scene(tmp_path):
    environment = {**os.environ, "https_proxy": "http://127.0.0.1:9", "TORCH_HOME": str(tmp_path / "torch")}
    command = [sys.executable, ROOT / "cam.py"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert os.listdir(tmp_path) == ["output"]
    assert sorted(os.listdir(tmp_path / "output")) == ["gradcam_cam.jpg", "gradcam_cam_gb.jpg", "gradcam_gb.jpg"]
    for fact in ("bundled network", "bundled scene", "GradCAM at layer ", "score", "output/gradcam_cam_gb.jpg"):
        assert fact in done.stdout
    name, label = re.search(r"class +(\w+) \((\d+)\)", done.stdout).groups()
    assert name in {one.name for one in example_scene().objects}
    assert CLASSES[int(label)] == name


def test_the_peak_of_each_class_lies_on_its_object(cli):
    names = [one.name for one in example_scene().objects]
    result = cli("--category", *names)
    assert result.code == 0
    model, inputs = demo.load_demo_network(), demo.to_input(example_scene().image)
    for one in example_scene().objects:
        (heat,) = GradCAM(model)(inputs, one.label)
        assert one.mask[np.unravel_index(heat.argmax(), heat.shape)]
        expected = show_cam_on_image(np.float32(example_scene().image) / 255, heat, use_rgb=True)
        np.testing.assert_allclose(pixels(result.folder / f"gradcam_{one.name}_cam.jpg"), as_jpeg(expected), atol=8)


def test_module_runs(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "pytorch_grad_cam", "--weights", "random", "--output_dir", "a/b"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "random weights" in done.stdout
    assert len(os.listdir(tmp_path / "a" / "b")) == 3


def test_help_shows_three_examples(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert len(re.findall(r"^  (?:cam\.py|grad-cam)", text, re.M)) == 3
    assert all(name in text for name in METHODS)
    assert max(map(len, text.splitlines())) <= 80


# The three pictures


def test_pictures_are_what_the_library_gives(cli, photograph):
    result = cli("--image-path", photograph, *RANDOM, "--category", 7)
    assert (result.code, result.err) == (0, "")
    assert result.files == [f"gradcam{suffix}" for suffix in SUFFIXES]
    network = _random_network(SMALL)
    rgb, inputs = seen(network, photograph)
    (heat,) = GradCAM(network.model)(inputs, 7)
    guided = GuidedBackpropReLUModel(network.model)(inputs, 7)
    expected = [
        show_cam_on_image(rgb, heat, use_rgb=True),
        deprocess_image(heat[..., None] * guided),
        deprocess_image(guided),
    ]
    for name, array in zip(result.files, expected, strict=True):
        assert pixels(result.folder / name).shape == (224, 224, 3)
        np.testing.assert_array_equal(pixels(result.folder / name), as_jpeg(array))


def test_a_second_run_writes_the_same_and_leaves_nothing_else(cli, photograph):
    first = cli("--image-path", photograph, *RANDOM)
    before = {name: (first.folder / name).read_bytes() for name in first.files}
    second = cli("--image-path", photograph, *RANDOM)
    assert {name: (second.folder / name).read_bytes() for name in second.files} == before


def test_jpegs_have_quality_95(cli):
    result = cli("--weights", "random")
    Image.fromarray(example_scene().image).save("pillow.jpg", quality=95)
    with Image.open("pillow.jpg") as pillow:
        for name in result.files:
            with Image.open(result.folder / name) as ours:
                assert ours.quantization == pillow.quantization


@pytest.mark.parametrize("size", [(300, 200), (200, 300), (64, 50), (1000, 240)])
def test_whole_picture_leaves_what_was_not_seen(cli, tmp_path, size):
    picture = np.random.default_rng(2).integers(60, 200, (1, 1, 3), np.uint8)
    picture = np.broadcast_to(picture, (size[1], size[0], 3)).copy()
    picture[::2] += 40
    Image.fromarray(picture).save(tmp_path / "striped.png")
    result = cli("--image-path", tmp_path / "striped.png", *RANDOM, "--whole-picture")
    overlay = pixels(result.folder / "gradcam_cam.jpg")
    assert overlay.shape == picture.shape

    network = _random_network(SMALL)
    x0, y0, x1, y1 = network.preset.crop_box(size)
    unseen = np.ones(size[::-1], bool)
    # JPEG blocks of 16 pixels spread what is at the edge.
    unseen[max(y0 - 16, 0) : y1 + 16, max(x0 - 16, 0) : x1 + 16] = False
    if max(size) > 1.5 * min(size):
        assert unseen.any()
    np.testing.assert_allclose(overlay[unseen].astype(int), picture[unseen], atol=6)

    _, inputs = seen(network, tmp_path / "striped.png")
    (heat,) = GradCAM(network.model)(inputs)
    expected = picture.copy()
    part = expected[y0:y1, x0:x1]
    heat = cv2.resize(heat, (x1 - x0, y1 - y0))
    part[:] = show_cam_on_image(np.float32(part) / 255, heat, use_rgb=True)
    np.testing.assert_array_equal(overlay, as_jpeg(expected))


def test_a_rotated_photograph_equals_the_upright_one(cli, tmp_path, photograph):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned right
    with Image.open(photograph) as picture:
        picture.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "rotated.png", exif=exif)
    for extra in ((), ("--whole-picture",)):
        results = [
            cli("--image-path", path, *RANDOM, *extra, output=path.stem)
            for path in (photograph, tmp_path / "rotated.png")
        ]
        for name in results[0].files:
            np.testing.assert_array_equal(*(pixels(result.folder / name) for result in results))


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "I;16", "CMYK"])
def test_pictures_of_every_mode(cli, photograph, mode):
    with Image.open(photograph) as picture:
        changed = Image.fromarray(np.uint16(picture.convert("L")) * 257) if mode == "I;16" else picture.convert(mode)
    changed.save(path := Path("changed.tif" if mode == "CMYK" else "changed.png"))
    assert cli("--image-path", path, "--model", "demo", "--weights", "random").code == 0


def test_names_with_spaces_and_letters(cli, photograph):
    photograph.rename("größe 写真.png")
    result = cli("--image_path=größe 写真.png", "--model", "demo", "--weights", "random", output="neue bilder/ü")
    assert (result.code, len(result.files)) == (0, 3)
    assert "größe 写真.png" in result.out


def test_letters_that_the_console_has_not(tmp_path, photograph):
    photograph.rename(tmp_path / "写真.png")
    done = subprocess.run(
        [sys.executable, ROOT / "cam.py", "--image-path", "写真.png", "--model", "demo", "--weights", "random"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "1"},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\\u5199" in done.stdout


# How to explain


@pytest.mark.parametrize("spell", [str, str.upper, lambda name: METHODS[name].__name__, str.title])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_by_every_name(cli, method, spell):
    result = cli("--weights", "random", "--target-layer", "conv1.0", "--method", spell(method), "--batch-size", 8)
    assert result.code == 0
    assert result.files == sorted(f"{method}{suffix}" for suffix in SUFFIXES)
    assert METHODS[method].__name__ in result.out


def test_unknown_method_lists_them(refused):
    line = refused("--method", "gradkam")
    assert all(name in line for name in METHODS)


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (("--aug_smooth",), {"aug_smooth": True}),
        (("--aug-smooth",), {"aug_smooth": True}),
        (("--eigen_smooth",), {"eigen_smooth": True}),
        (("--aug_smooth", "--eigen-smooth"), {"aug_smooth": True, "eigen_smooth": True}),
    ],
)
def test_smoothing(cli, arguments, options):
    result = cli("--weights", "random", *arguments)
    network = load_network("demo", "random")
    inputs = demo.to_input(example_scene().image)
    (heat,) = GradCAM(network.model)(inputs, **options)
    expected = as_jpeg(show_cam_on_image(network.preset.to_rgb(inputs), heat, use_rgb=True))
    np.testing.assert_allclose(pixels(result.folder / "gradcam_cam.jpg"), expected, atol=8)


@pytest.mark.parametrize(
    ("arguments", "layers"),
    [
        (("--target-layer", "stage3"), ["stage3"]),
        (("--target_layer", "stage3.-1", "stage4"), ["stage3.-1", "stage4"]),
        (("--target-layer", "stage2", "--target-layer", "stage4"), ["stage2", "stage4"]),
    ],
)
def test_target_layers(cli, arguments, layers):
    result = cli("--weights", "random", *arguments)
    assert result.code == 0
    network = load_network("demo", "random")
    inputs = demo.to_input(example_scene().image)
    (heat,) = GradCAM(network.model, layers)(inputs)
    expected = as_jpeg(show_cam_on_image(network.preset.to_rgb(inputs), heat, use_rgb=True))
    np.testing.assert_allclose(pixels(result.folder / "gradcam_cam.jpg"), expected, atol=8)


def test_unknown_layer(refused):
    assert "stage4" in refused("--weights", "random", "--target-layer", "stage9")


def test_layer_without_positions(refused):
    assert "'fc'" in refused("--weights", "random", "--target-layer", "fc")


def test_list_layers_prints_the_table_and_writes_nothing(cli, photograph):
    result = cli("--list-layers")
    assert (result.code, result.err, result.files) == (0, "", [])
    assert result.out == f"{list_layers(load_network('demo').model, demo.to_input(example_scene().image))}\n"
    assert len(result.out.splitlines()) > 20
    (chosen,) = [line for line in result.out.splitlines() if line.endswith("<- taken if none is given")]
    assert chosen.startswith("conv5 ")
    of_one = cli("--list-layers", *RANDOM, "--image-path", photograph, "--category", "tench").out
    assert of_one != cli("--list-layers", *RANDOM, "--image-path", photograph, "--category", "goldfish").out


@pytest.mark.parametrize("method", ["gradcam", "ablationcam"])
def test_a_random_vit_has_a_head_that_tells_classes(cli, method):
    result = cli("--model", "timm/test_vit", "--weights", "random", "--method", method)
    assert result.code == 0
    assert "at layer blocks.5.norm1" in result.out
    assert cli("--model", "vit_b_32", "--weights", "random").code == 0


@pytest.mark.parametrize("size", ["0", "-3", "many", "1.5"])
def test_batch_size_is_a_positive_number(refused, size):
    assert "--batch-size" in refused("--batch-size", size)


def test_underscores_in_every_option(cli, photograph):
    result = cli(
        "--image_path", photograph, "--use_cuda", "--device", "cpu", "--model", "demo", "--weights", "random",
        "--target_layer", "conv1", "--batch_size=4", "--aug_smooth", "--eigen_smooth", "--whole_picture",
        "--output_dir", "elsewhere",
    )  # fmt: skip
    assert (result.code, result.err) == (0, "")


# Classes


def test_several_classes_are_explained_at_once(cli):
    together = cli("--weights", "random", "--category", "STAR", "3", "--category", "drop", "star", output="together")
    assert together.files == sorted(f"gradcam_{name}{end}" for name in ("star", "cross", "drop") for end in SUFFIXES)
    assert [int(label) for label in re.findall(r"\((\d+)\), score", together.out)] == [0, 3, 10]
    alone = cli("--weights", "random", "--category", "Cross", output="alone")
    assert alone.files == [f"gradcam{suffix}" for suffix in SUFFIXES]
    for name in alone.files:
        several = pixels(together.folder / name.replace("gradcam", "gradcam_cross"))
        np.testing.assert_allclose(several.astype(int), pixels(alone.folder / name), atol=8)


def test_names_of_imagenet(cli):
    result = cli(*RANDOM, "--category", "great white shark", "264", "474")
    stems = ("gradcam_great_white_shark", "gradcam_Cardigan_264", "gradcam_cardigan_474")  # a dog and a garment
    assert result.files == sorted(stem + suffix for stem in stems for suffix in SUFFIXES)
    assert "class    great white shark (2), score" in result.out


@pytest.mark.parametrize(
    ("category", "facts"),
    [
        ("cardigan", ["264", "474"]),
        ("golden retreiver", ["golden retriever"]),
        ("1000", ["1000 classes", "999"]),
        ("-1", ["1000 classes"]),
        ("", ["no class"]),
    ],
)
def test_classes_that_are_not_clear(refused, category, facts):
    line = refused(*RANDOM, "--category", category)
    assert all(fact in line for fact in facts)


# Networks


@pytest.mark.parametrize("name", [SMALL, "squeezenet1_1", "efficientnet_b0"])
@pytest.mark.parametrize("size", [(300, 200), (201, 333), (90, 71)])
def test_torchvision_gets_its_own_preset(name, size):
    network = _random_network(name)
    picture = Image.fromarray(np.random.default_rng(3).integers(0, 256, (*size, 3), np.uint8))
    weights = torchvision.models.get_model_weights(name).DEFAULT
    assert torch.equal(network.preset.to_input(picture)[0], weights.transforms()(picture))
    assert network.classes == tuple(weights.meta["categories"])


@pytest.mark.parametrize("name", ["resnet10t", "test_vit3", "vit_pwee_patch16_reg1_gap_256", "test_efficientnet"])
@pytest.mark.parametrize("size", [(300, 200), (201, 333)])
def test_timm_gets_its_own_preset(name, size):
    timm = pytest.importorskip("timm")
    network = _random_network(f"timm/{name}")
    picture = Image.fromarray(np.random.default_rng(3).integers(0, 256, (*size, 3), np.uint8))
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(network.model))
    assert torch.equal(network.preset.to_input(picture)[0], transform(picture))
    assert network.classes[7] == "class 7"


@functools.cache
def _random_network(name):
    return load_network(name, "random")


@pytest.mark.parametrize("resize", [128, 146, (146, 146), (160, 128)])
@pytest.mark.parametrize("size", [(128, 128), (400, 300), (301, 700), (1500, 1000)])
def test_crop_box_is_where_the_input_comes_from(resize, size):
    preset = Preset(resize, (128, 112), (0.5,) * 3, (0.5,) * 3)
    width, height = size
    x, y = np.meshgrid((np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height)
    ramps = Image.fromarray(np.rint(255 * np.stack([x, y, 0 * x], -1)).astype(np.uint8))
    rgb = preset.to_rgb(preset.to_input(ramps))
    x0, y0, x1, y1 = preset.crop_box(size)
    step = (rgb[-1, -1, :2] - rgb[0, 0, :2]) / (111, 127) / 2  # half an input pixel
    np.testing.assert_allclose(rgb[0, 0, :2] - step, (x0 / width, y0 / height), atol=0.006)
    np.testing.assert_allclose(rgb[-1, -1, :2] + step, (x1 / width, y1 / height), atol=0.006)


def test_timm_network(cli, photograph):
    pytest.importorskip("timm")
    result = cli("--image-path", photograph, "--model", "timm/test_vit3", "--weights", "random", "--category", 3, 4)
    assert result.code == 0
    assert "gradcam_class_3_cam.jpg" in result.files
    assert "timm/test_vit3, random weights" in result.out


@pytest.mark.parametrize(
    ("model", "fact"),
    [
        ("resnet5O", "resnet50"),
        ("fasterrcnn_resnet50_fpn", "resnet50"),
        ("", "no model ''"),
        ("timm/resnet1O", "resnet18"),
        ("timm/resnet18.none", "none"),
        ("timm/", "no model ''"),
    ],
)
def test_unknown_model(refused, model, fact):
    if model.startswith("timm/"):
        pytest.importorskip("timm")
    assert fact in refused("--model", model, "--weights", "random")


def test_without_timm(refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)  # as where it is not installed
    assert "pip install timm" in refused("--model", "timm/resnet18")


def save(weights, path="mine.pt"):
    torch.save(weights, path)
    return path


@pytest.mark.parametrize("wrapped", [dict, lambda s: {"state_dict": s, "epoch": 3}, lambda s: {"model": s}])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_weights_of_a_file(cli, photograph, wrapped, prefix):
    torch.manual_seed(5)
    model = torchvision.models.get_model(SMALL).eval()
    path = save(wrapped({prefix + name: value for name, value in model.state_dict().items()}))
    result = cli("--image-path", photograph, "--model", SMALL.upper(), "--weights", path)
    assert (result.code, result.err) == (0, "")
    _, inputs = seen(_random_network(SMALL), photograph)
    with torch.no_grad():
        score, index = model(inputs)[0].max(0)
    categories = torchvision.models.get_model_weights(SMALL).DEFAULT.meta["categories"]
    assert f"{categories[index]} ({index}), score {score:.4g}" in result.out
    assert "weights of mine.pt" in result.out


@pytest.mark.parametrize("name", ["squeezenet1_1", "mobilenet_v3_small", "googlenet"])
def test_weights_with_another_number_of_classes(cli, name):
    options = {"init_weights": False} if name == "googlenet" else {}
    path = save(torchvision.models.get_model(name, num_classes=5, **options).state_dict())
    result = cli("--model", name, "--weights", path, "--category", "Class 4")
    assert (result.code, result.err) == (0, "")
    assert "class    class 4, score" in result.out


def test_weights_for_the_bundled_network(cli):
    path = save(demo.build_network().state_dict())
    result = cli("--weights", path, "--category", "star")
    assert result.code == 0
    assert "weights of mine.pt" in result.out


class _Bomb:
    def __reduce__(self):
        return (Path("exploded").touch, ())


@pytest.mark.parametrize(
    ("content", "fact"),
    [
        ({"conv1.weight": torch.ones(3)}, "does not fit"),
        (torchvision.models.squeezenet1_1(num_classes=5).state_dict(), "does not fit"),
        (torch.ones(3), "no state dict"),
        ({}, "no state dict"),
        ({"epoch": 3}, "no state dict"),
        ({0: torch.ones(3)}, "no state dict"),
        ({"state_dict": torch.nn.Linear(2, 2)}, "code is not run"),
        ({"state_dict": _Bomb()}, "code is not run"),
    ],
)
def test_weights_that_do_not_fit(refused, content, fact):
    assert fact in refused("--weights", save(content))
    assert not Path("exploded").exists()


def test_other_number_of_classes_for_the_bundled_network(refused):
    state = demo.build_network().state_dict()
    path = save({**state, "fc.weight": torch.ones(5, len(state["fc.weight"][0])), "fc.bias": torch.ones(5)})
    assert "5 classes" in refused("--weights", path)


@pytest.mark.parametrize("content", [b"", b"weights", bytes(range(256)), pickle.dumps([1]), pickle.dumps(_Bomb())])
def test_files_that_are_no_weights(refused, content):
    Path("mine.pt").write_bytes(content)
    assert "mine.pt" in refused("--weights", "mine.pt")
    assert not Path("exploded").exists()


def test_damaged_weights(refused):
    save(demo.build_network().state_dict())
    Path("mine.pt").write_bytes(Path("mine.pt").read_bytes()[:5000])
    assert "damaged" in refused("--weights", "mine.pt")


def test_weights_that_are_not_finite(refused):
    state = {name: value * float("nan") for name, value in demo.build_network().state_dict().items()}
    assert "finite" in refused("--weights", save(state))


def test_a_blank_map_is_told_in_one_line(cli):
    state = demo.load_demo_network().state_dict()
    state["fc.weight"].zero_()
    result = cli("--weights", save(state), "--target-layer", "conv5")
    assert result.code == 0
    assert re.fullmatch(r"\S+: warning: 1 of 1 maps are blank\. image 0: the score's gradient is 0 .*\n", result.err)


# Pretrained weights


def test_a_picture_without_weights_to_be_had_goes_to_the_bundled_network(cli, offline, photograph):
    result = cli("--image-path", photograph)
    assert result.code == 0
    first = result.err.splitlines()[0]
    for fact in ("warning", "resnet50", "bundled network", "--model", "--weights"):
        assert fact in first
    assert result.out.startswith(f"image    {photograph}\nnetwork  the bundled network")
    assert pixels(result.folder / "gradcam_cam.jpg").shape == (128, 128, 3)


@pytest.mark.parametrize("model", ["resnet50", "squeezenet1_1", "timm/resnet18"])
def test_a_model_without_weights_to_be_had_is_an_error(refused, offline, model):
    if model.startswith("timm/"):
        pytest.importorskip("timm")
    assert f"weights of {model}" in refused("--model", model)


def test_timm_model_without_weights(refused):
    timm = pytest.importorskip("timm")
    name = next(name for name in timm.list_models("*resnet*") if not timm.is_model_pretrained(name))
    assert "no pretrained weights" in refused("--model", f"timm/{name}")


def test_a_network_that_swallows_everything_does_not_hang(cli, offline, monkeypatch, photograph):
    monkeypatch.setattr("pytorch_grad_cam.cli.networks.TIMEOUT", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        use_proxy(monkeypatch, f"http://127.0.0.1:{silent.getsockname()[1]}")
        result = cli("--image-path", photograph)
    assert result.code == 0
    assert "timed out" in result.err.splitlines()[0]
    assert socket.getdefaulttimeout() is None


def test_a_picture_goes_to_resnet50(cli, offline, photograph):
    weights = torchvision.models.get_model_weights("resnet50").DEFAULT
    checkpoints = Path(torch.hub.get_dir(), "checkpoints")
    checkpoints.mkdir(parents=True)
    save(torchvision.models.resnet50().state_dict(), checkpoints / Path(weights.url).name)
    result = cli("--image-path", photograph)
    assert (result.code, result.err) == (0, "")
    assert "network  resnet50\nmethod   GradCAM at layer layer4\n" in result.out
    assert pixels(result.folder / "gradcam_cam.jpg").shape == (224, 224, 3)
    (checkpoints / Path(weights.url).name).write_bytes(b"damaged")
    assert "warning" in cli("--image-path", photograph).err


def test_a_download_says_nothing_on_standard_output(cli, offline, monkeypatch):
    save(torchvision.models.squeezenet1_1().state_dict(), "weights")
    digest = hashlib.sha256(Path("weights").read_bytes()).hexdigest()[:8]
    Path("weights").rename(f"squeezenet1_1-{digest}.pth")
    weights = torchvision.models.get_model_weights("squeezenet1_1").DEFAULT
    monkeypatch.setattr(weights.value, "url", Path(f"squeezenet1_1-{digest}.pth").absolute().as_uri())
    result = cli("--model", "squeezenet1_1")
    assert result.code == 0
    assert result.out.startswith("image    the bundled scene, examples/both.png\nnetwork  squeezenet1_1\n")
    assert "Downloading" in result.err


# What is refused


@pytest.mark.parametrize("content", [None, b"", b"Hello, world", "folder", "truncated"])
def test_no_picture(refused, photograph, content):
    path = Path("my picture.png")
    if content == "folder":
        path.mkdir()
    elif content == "truncated":
        path.write_bytes(photograph.read_bytes()[:2000])
    elif content is not None:
        path.write_bytes(content)
    assert "my picture.png" in refused("--image-path", path, *RANDOM)


def test_decompression_bomb(refused, photograph, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert "bomb" in refused("--image-path", photograph, *RANDOM)


@pytest.mark.parametrize("device", ["gpu", "meta", "", "cuda:99", "cpu:x"])
def test_no_device(refused, device):
    assert repr(device) in refused("--weights", "random", "--device", device)


@pytest.mark.parametrize("option", ["--use-cuda", "--use_cuda", "--device=cuda"])
def test_cuda(cli, option):
    result = cli("--weights", "random", option)
    assert result.code == (0 if torch.cuda.is_available() else 2)
    if not torch.cuda.is_available():
        assert result.err.count("\n") == 1
        assert "'cuda' is not available" in result.err


def test_output_below_a_file(refused):
    Path("file").touch()
    assert "'file" in refused("--weights", "random", output="file/output")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_output_without_permission(refused):
    Path("locked").mkdir(0o500)
    assert "permission" in refused("--weights", "random", output="locked/output")


def test_output_that_the_system_refuses(cli):
    Path("output/gradcam_cam.jpg").mkdir(parents=True)
    result = cli("--weights", "random")
    assert (result.code, result.files, result.out) == (2, ["gradcam_cam.jpg"], "")
    assert re.fullmatch(r"\S+: error: cannot write to 'output': .+\n", result.err)


@pytest.mark.parametrize("arguments", [["--no-such-option"], ["picture.jpg"], ["--category"], ["--method"]])
def test_usage(refused, arguments):
    refused(*arguments)


def test_ctrl_c_is_quiet(cli, monkeypatch):
    class Interrupted(GradCAM):
        def channel_weights(self, evidence):
            signal.raise_signal(signal.SIGINT)
            return super().channel_weights(evidence)

    monkeypatch.setitem(METHODS, "interrupted", Interrupted)
    result = cli("--weights", "random", "--method", "interrupted")
    assert (result.code, result.out, result.err, result.files) == (130, "", "", [])


def test_an_error_from_elsewhere_says_where(refused, monkeypatch):
    class Broken(GradCAM):
        def channel_weights(self, evidence):
            raise RuntimeError("my\nbug")

    monkeypatch.setitem(METHODS, "broken", Broken)
    line = refused("--weights", "random", "--method", "broken")
    assert re.search(r"my bug \(RuntimeError in .*test_cli\.py, line \d+\)", line)


def test_a_bug_is_not_hidden(cli, monkeypatch):
    class Broken(GradCAM):
        def channel_weights(self, evidence):
            raise KeyError("bug")

    monkeypatch.setitem(METHODS, "broken", Broken)
    with pytest.raises(KeyError):
        cli("--weights", "random", "--method", "broken")


def test_weights_that_are_no_file(refused, tmp_path):
    assert refused("--weights", tmp_path).endswith(f": {str(tmp_path)!r} is not a file\n")
    assert refused("--weights", "missing.pt").endswith("no such weights file: 'missing.pt'\n")
