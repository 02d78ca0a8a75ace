"""Files that somebody else made, or that the disk broke: one line, exit code 2, nothing run and nothing written."""

import os
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pytorch_grad_cam.cli import main
from pytorch_grad_cam.demo import network as demo

STATE = demo.load_demo_network().state_dict()
FRAMES = [Image.new("RGB", (40, 30), colour) for colour in ("red", "green", "blue")]


class Code:
    """What a pickle can do when it is loaded."""

    def __reduce__(self):
        return (Path("executed").touch, ())


def claims(width, height):
    """A PNG file of some 60 bytes that says that it is this large."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def text_bomb(path):
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("comment", "a" * 2**27, zip=True)
    FRAMES[0].save(path, pnginfo=info)


def contains_itself(path):
    state = {}
    state["state_dict"] = state
    torch.save(state, path)


def safetensors(path, state=STATE):
    save_file = pytest.importorskip("safetensors.torch").save_file
    save_file({name: value.clone() for name, value in state.items()}, path)


def several(path):
    FRAMES[0].save(path, save_all=True, append_images=FRAMES[1:])


def part_of(make, share):
    def write(path):
        make(path)
        data = Path(path).read_bytes()
        Path(path).write_bytes(data[: int(len(data) * share)])

    return write


def bytes_of(data):
    return lambda path: Path(path).write_bytes(data)


def saved(content):
    return lambda path: torch.save(content, path)


def grown(name, *shape):
    """A state dict in which a tensor of one number claims a shape."""
    return saved({**STATE, name: torch.zeros(1).expand(*shape)})


PICTURES = {
    # name: (how it is made, what the line says)
    "none.png": (lambda path: None, "no such file"),
    "empty.png": (bytes_of(b""), "the file is empty"),
    "text.png": (bytes_of(b"Hello, world"), "image format that Pillow knows"),
    "folder.png": (os.mkdir, "is a folder"),
    "pipe.png": (os.mkfifo, "is a pipe, a device or a socket"),
    "dangling.png": (lambda path: os.symlink("nowhere", path), "no such file"),
    "loop.png": (lambda path: os.symlink(path, path), "no such file"),
    "half.png": (part_of(FRAMES[0].save, 0.7), "cannot read"),
    "half.jpg": (part_of(lambda path: Image.effect_noise((400, 300), 99).save(path), 0.5), "truncated"),
    "huge.png": (bytes_of(claims(60_000, 60_000)), "decompression bomb"),
    "claims.png": (bytes_of(claims(9_000, 9_000)), "cannot read"),
    "text_bomb.png": (text_bomb, "too large"),
    "animated.gif": (several, "it holds 3 "),
    "animated.png": (several, "it holds 3 "),
    "animated.webp": (several, "it holds 3 "),
    "pages.tif": (several, "it holds 3 "),
    "floats.tif": (lambda path: Image.fromarray(np.ones((9, 9), np.float32)).save(path), "floating point"),
    "script.eps": (bytes_of(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(executed) (w) file\n"), "cannot read"),
}
WEIGHTS = {
    "none.pt": (lambda path: None, "no such weights file"),
    "empty.pt": (bytes_of(b""), "not a file that torch.save wrote"),
    "folder.pt": (os.mkdir, "is not a file"),
    "pipe.pt": (os.mkfifo, "is not a file"),
    "picture.pt": (lambda path: FRAMES[0].save(path, "PNG"), "not a file that torch.save wrote"),
    "code.pt": (saved(Code()), "whose code is not run"),
    "code_inside.pt": (saved({**STATE, "epoch": Code()}), "whose code is not run"),
    "network.pt": (saved(demo.build_network()), "whose code is not run"),
    "half.pt": (part_of(saved(STATE), 0.5), "damaged"),
    "contains_itself.pt": (contains_itself, "no state dict"),
    "claims.pt": (grown("fc.weight", 12, 10**12), "that the file does not hold"),
    "classes.pt": (grown("fc.weight", 10**9, 1024), "that the file does not hold"),
    "no_classes.pt": (saved({**STATE, "fc.weight": torch.zeros(0, 1024), "fc.bias": torch.zeros(0)}), "0 classes"),
    "complex.pt": (saved({**STATE, "fc.bias": torch.ones(12, dtype=torch.complex64)}), "complex numbers"),
    "half.safetensors": (part_of(safetensors, 0.5), "not a safetensors file"),
    "head.safetensors": (part_of(safetensors, 0.01), "not a safetensors file"),
    "empty.safetensors": (bytes_of(b""), "not a safetensors file"),
    "claims.safetensors": (bytes_of(b"\xff" * 8 + b"{}"), "not a safetensors file"),
    "other.safetensors": (lambda path: safetensors(path, {"fc.bias": torch.ones(12)}), "does not fit"),
    "pickle.safetensors": (saved({"state_dict": Code()}), "not a safetensors file"),
}
OUTPUTS = {
    "file": (Path.touch, "is not a folder"),
    "dangling": (lambda path: path.symlink_to("nowhere"), "is not a folder"),
    "file/below": (lambda path: path.parent.touch(), "is not a folder"),
    "n" * 300: (lambda path: None, "File name too long"),
    "/proc/nothing": (lambda path: None, "cannot write"),
}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def refused(capsys, *arguments):
    """The one line, of which nothing else is left."""
    before = sorted(os.listdir("."))
    with pytest.raises(SystemExit) as stop:
        main([*arguments])
    out, err = capsys.readouterr()
    assert (stop.value.code, out) == (2, "")
    assert re.fullmatch(r"(cam\.py|grad-cam): error: [^\n]+\n", err)
    assert sorted(os.listdir(".")) == before
    assert "executed" not in before
    return err


@pytest.mark.parametrize("name", PICTURES)
def test_pictures(name, capsys):
    make, fact = PICTURES[name]
    make(name)
    line = refused(capsys, "--image-path", name, "--model", "demo")
    assert repr(name) in line
    assert fact in line


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights(name, capsys):
    make, fact = WEIGHTS[name]
    make(name)
    line = refused(capsys, "--weights", name)
    assert repr(name) in line
    assert fact in line


@pytest.mark.parametrize("name", OUTPUTS)
def test_outputs(name, capsys):
    make, fact = OUTPUTS[name]
    make(Path(name))
    line = refused(capsys, "--output-dir", name)
    assert repr(name) in line
    assert fact in line


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_leaves_nothing(capsys, monkeypatch):
    written = []
    open_path = Path.open

    def until_full(path, *arguments):
        written.append(path)
        return open_path(Path("/dev/full") if len(written) == 2 else path, *arguments)

    monkeypatch.setattr(Path, "open", until_full)
    os.mkdir("output")
    assert "No space left" in refused(capsys)
    assert len(written) == 2
    assert not os.listdir("output")


def test_a_folder_in_the_place_of_a_picture(capsys):
    os.makedirs("output/gradcam_gb.jpg")
    assert "'gradcam_gb.jpg' is a folder" in refused(capsys)
    assert os.listdir("output") == ["gradcam_gb.jpg"]


def test_pictures_of_which_there_are_two_in_a_file_for_good_reason():
    """A phone keeps a preview, or a depth map, beside the photograph."""
    FRAMES[0].save("phone.jpg", "MPO", save_all=True, append_images=FRAMES[1:])
    assert Image.open("phone.jpg").n_frames == 3
    assert main(["--image-path", "phone.jpg", "--model", "demo"]) == 0


def test_safetensors_give_the_same_as_a_pickle(capsys):
    safetensors("mine.safetensors")
    torch.save(STATE, "mine.pt")
    for name in ("mine.pt", "mine.safetensors"):
        assert main(["--weights", name, "--output-dir", f"of_{name}"]) == 0
    assert Path("of_mine.pt/gradcam_cam.jpg").read_bytes() == Path("of_mine.safetensors/gradcam_cam.jpg").read_bytes()


def test_without_safetensors(capsys, monkeypatch):
    safetensors("mine.safetensors")
    monkeypatch.setitem(__import__("sys").modules, "safetensors.torch", None)
    assert "pip install safetensors" in refused(capsys, "--weights", "mine.safetensors")


def test_a_model_that_reads_the_versions_of_its_weights():
    """MNASNet takes weights without a version for those of its first release, whose layers were narrower."""
    from torchvision import models

    from pytorch_grad_cam.cli.networks import load_network

    model = models.mnasnet0_5(num_classes=7)
    for prefix in ("", "module."):
        torch.save(torch.nn.ModuleDict({"module": model}).state_dict() if prefix else model.state_dict(), "mine.pt")
        loaded = load_network("mnasnet0_5", "mine.pt").model
        assert all(torch.equal(value, model.state_dict()[name]) for name, value in loaded.state_dict().items())
