"""Many pictures on the command line: the table, what is in such folders, runs that end early, several processes."""

import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pytorch_grad_cam import METHODS, GradCAM, LayerCAM
from pytorch_grad_cam.cli import main
from pytorch_grad_cam.cli.folder.discovery import find_images
from pytorch_grad_cam.demo.network import load_demo_network, to_input
from pytorch_grad_cam.demo.scenes import CLASSES, make_scene
from pytorch_grad_cam.utils.image import show_cam_on_image
from pytorch_grad_cam.utils.image_files import encode_jpeg
from pytorch_grad_cam.utils.regions import box_from_map
from tests.e2e.conftest import tables

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
DEMO = ("--model", "demo", "--workers", "0")
SCENES = [make_scene(seed).image for seed in range(12)]
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def timeless(rows):
    return [json.dumps({**row, "seconds": None}) for row in rows]


def files_of(folder):
    """Every file of the results, but the records and the tables, with its bytes."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".records" not in path.parts and path.suffix not in (".csv", ".jsonl")
    }


def scenes(folder, *names):
    """Pictures of the bundled world under these names."""
    for at, name in enumerate(names):
        (path := Path(folder, name)).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(SCENES[at % len(SCENES)]).save(path)
    return Path(folder)


@pytest.fixture
def photos():
    return scenes("photos", "a.png", "b/c.png", "b/d.png", "b/e/f.png", "z.png")


# Which pictures


@pytest.mark.parametrize("folder", ["photos", "photos/", "./photos", "../{here}/photos"])
def test_a_folder_with_all_below_it(cli, photos, folder):
    result = cli("--image-path", folder.format(here=Path.cwd().name), *DEMO)
    assert (result.code, result.err) == (0, "")
    names = ["a.png", "b/c.png", "b/d.png", "b/e/f.png", "z.png"]
    assert [row["path"] for row in result.rows] == names
    assert [row["overlay"] for row in result.rows] == [f"{name}.gradcam.jpg" for name in names]
    assert sorted(files_of(result.folder)) == [f"{name}.gradcam.jpg" for name in names]
    assert "5 explained, 0 failed" in result.out


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["photos/*.png"], ["a.png", "z.png"]),
        (["photos/**/*.png"], ["a.png", "b/c.png", "b/d.png", "b/e/f.png", "z.png"]),
        (["photos/b/**"], ["c.png", "d.png", "e/f.png"]),
        (["photos/?/[cd].png"], ["b/c.png", "b/d.png"]),
        (["photos/a.png", "photos/b/d.png"], ["a.png", "b/d.png"]),
        (["photos/b", "photos/*.png"], ["a.png", "b/c.png", "b/d.png", "b/e/f.png", "z.png"]),
        (["photos/b", "photos/b/d.png", "photos"], ["a.png", "b/c.png", "b/d.png", "b/e/f.png", "z.png"]),
    ],
)
def test_globs_and_several(cli, photos, paths, expected):
    result = cli("--image-path", *paths, *DEMO)
    assert [row["path"] for row in result.rows] == expected


def test_what_is_no_picture_of_a_folder():
    scenes("photos", "UPPER.PNG", "x.jpeg", ".hidden.png", ".cache/x.png", "[1].png")
    Path("photos/notes.txt").write_text("no picture")
    Path("photos/sub.png").mkdir()
    assert find_images(["photos"], Path("output"))[1] == ["UPPER.PNG", "[1].png", "x.jpeg"]


def test_a_name_that_looks_like_a_glob_is_one_picture(cli):
    scenes(".", "[1].png")
    assert cli("--image-path", "[1].png", *DEMO).rows is None


def test_results_below_the_pictures_are_not_explained_again(cli, photos):
    for _ in range(2):
        result = cli("--image-path", "photos", *DEMO, output="photos/b/out")
        assert len(result.rows) == 5
    assert len(cli("--image-path", ".", *DEMO).rows) == 5 + 5  # another run's are pictures like any other


def test_results_among_the_pictures_are_refused(cli, photos):
    for path in ("photos", "photos/*.png"):
        result = cli("--image-path", path, *DEMO, output="photos")
        assert result.code == 2
        assert "choose another --output-dir" in result.err
    assert len(list(photos.rglob("*"))) == 5 + 2


def test_links_to_folders_are_followed_and_never_round_and_round(cli, photos):
    scenes("elsewhere", "y.png")
    Path("photos/link").symlink_to(Path("elsewhere").absolute())
    Path("photos/b/up").symlink_to(Path("photos").absolute())
    Path("photos/b/self").symlink_to(".")
    result = cli("--image-path", "photos", *DEMO)
    assert [row["path"] for row in result.rows][-2:] == ["link/y.png", "z.png"]
    assert len(result.rows) == 6


@pytest.mark.parametrize(
    ("arguments", "fact"),
    [
        (("--image-path", "empty"), "'empty' is a folder without images; expected file names such as *.jpg"),
        (("--image-path", "nowhere"), "no such file: 'nowhere'"),
        (("--image-path", "nowhere/*.png"), "'nowhere/*.png' is a pattern without images"),
        (("--image-path", "photos", "--category", "cat"), "no class 'cat'"),
        (("--image-path", "photos", "--methods", "gradcam,gradkam"), "no method 'gradkam', expected one of gradcam"),
        (("--image-path", "photos", "--methods", ""), "no method ''"),
        (("--image-path", "photos", "--method", "gradcam", "--methods", "layercam"), "not allowed with"),
        (("--image-path", "photos", "--target-layer", "stage9"), "stage4"),
        (("--image-path", "photos", "--target-layer", "fc"), "'fc'"),
        (("--image-path", "photos", "--workers", "-1"), "'-1' given, expected a whole number of at least 0"),
        (("--image-path", "photos", "--output-dir", "file/out"), "is not a folder"),
        (("--resume",), "--resume needs --image-path"),
        (("--methods", "gradcam,layercam"), "--methods needs --image-path"),
        (("--save-maps",), "--save-maps needs --image-path"),
    ],
)
def test_bad_usage_is_one_line_and_writes_nothing(capsys, photos, arguments, fact):
    Path("empty").mkdir()
    Path("file").touch()
    before = sorted(Path().rglob("*"))
    with pytest.raises(SystemExit) as stop:
        main([*arguments, *DEMO])
    out, err = capsys.readouterr()
    assert (stop.value.code, out) == (2, "")
    assert re.fullmatch(r"(cam\.py|grad-cam): error: [^\n]+\n", err)
    assert fact in err
    assert sorted(Path().rglob("*")) == before


def test_list_layers_takes_the_first_picture(cli, photos):
    result = cli("--image-path", "photos", "--list-layers", *DEMO)
    assert (result.code, result.rows) == (0, None)
    assert result.out == cli("--image-path", "photos/a.png", "--list-layers", *DEMO).out


# What the table says


def test_a_row_says_what_the_library_says(cli, photos):
    result = cli("--image-path", "photos", *DEMO, "--save-maps", "--batch-size", 2)
    cam = GradCAM(load_demo_network())
    for row, image in zip(result.rows, SCENES, strict=False):
        explanation = cam.explain(to_input(image))
        ((index,),) = explanation.targets.classes
        heat = explanation.maps[0, 0].numpy()
        assert (row["index"], row["class"], row["method"], row["layer"]) == (index, CLASSES[index], "gradcam", "conv5")
        assert row["score"] == pytest.approx(explanation.scores.item(), rel=1e-5)
        assert row["box"] == box_from_map(heat).tolist()  # the network sees these pictures as they are
        assert (row["warnings"], row["error"]) == ([], None)
        assert row["seconds"] > 0
        with np.load(result.folder / row["maps"]) as saved:
            assert saved["map"].dtype == np.float32
            np.testing.assert_allclose(saved["map"], heat, atol=1e-5)
            assert saved["seen"].tolist() == [0, 0, 128, 128]


@pytest.mark.parametrize("extra", [(), ("--whole-picture",), ("--aug-smooth",), ("--eigen-smooth", "--whole-picture")])
def test_overlays_are_those_of_a_single_picture(cli, extra):
    Path("photos").mkdir()
    for at, size in enumerate([(300, 200), (150, 400), (128, 128)]):
        Image.fromarray(SCENES[at]).resize(size).save(f"photos/{at}.png")
    result = cli("--image-path", "photos", *DEMO, *extra, "--batch-size", 1)
    for row in result.rows:
        alone = cli("--image-path", f"photos/{row['path']}", *DEMO, *extra, output=f"alone{row['path']}")
        assert (result.folder / row["overlay"]).read_bytes() == (alone.folder / "gradcam_cam.jpg").read_bytes()


@pytest.mark.parametrize("size", [(300, 200), (150, 400), (128, 128), (31, 77), (1024, 768)])
def test_the_box_is_in_pixels_of_the_picture(cli, size):
    Path("photos").mkdir()
    Image.fromarray(SCENES[0]).resize(size).save("photos/a.png")
    (row,) = cli("--image-path", "photos", *DEMO, "--save-maps").rows
    with np.load(Path("output", row["maps"])) as saved:
        inside, (left, top, right, bottom) = box_from_map(saved["map"]), saved["seen"]
    # The shorter side becomes 128 pixels, of the longer one the network sees the middle.
    short = min(size)
    assert max(abs((right - left) - short), abs((bottom - top) - short)) <= 2 + short / 128
    for edge, side, start in zip(row["box"], inside, [left, top, left, top], strict=True):
        assert abs(edge - (start + side * short / 128)) <= 2 + short / 128
    x0, y0, x1, y1 = row["box"]
    assert 0 <= x0 < x1 <= size[0]
    assert 0 <= y0 < y1 <= size[1]


def test_several_methods(cli, photos):
    result = cli("--image-path", "photos", *DEMO, "--methods", "LayerCAM, gradcam,eigencam", "--save-maps")
    assert [(row["path"], row["method"]) for row in result.rows[:4]] == [
        ("a.png", "eigencam"),
        ("a.png", "gradcam"),
        ("a.png", "layercam"),
        ("b/c.png", "eigencam"),
    ]
    assert len(result.rows) == 15
    cams = {name: METHODS[name](load_demo_network()) for name in ("gradcam", "layercam", "eigencam")}
    for at, row in enumerate(result.rows):
        with np.load(result.folder / row["maps"]) as saved:
            expected = cams[row["method"]](to_input(SCENES[at // 3]))[0]
            np.testing.assert_allclose(saved["map"], expected, atol=1e-4)


def test_several_classes(cli, photos):
    result = cli("--image-path", "photos", *DEMO, "--category", "star", 3, "--methods", "gradcam,layercam")
    assert [(row["path"], row["method"], row["class"]) for row in result.rows[:4]] == [
        ("a.png", "gradcam", "star"),
        ("a.png", "gradcam", "cross"),
        ("a.png", "layercam", "star"),
        ("a.png", "layercam", "cross"),
    ]
    assert sorted(files_of(result.folder))[:2] == ["a.png.gradcam_cross.jpg", "a.png.gradcam_star.jpg"]
    maps = LayerCAM(load_demo_network())(to_input(SCENES[0]), [[0, 3]])[0]
    pixels = show_cam_on_image(SCENES[0] / np.float32(255), maps[1], use_rgb=True)
    with Image.open(result.folder / "a.png.layercam_cross.jpg") as overlay:
        Path("expected.jpg").write_bytes(encode_jpeg(pixels))
        np.testing.assert_allclose(np.int32(overlay), np.int32(Image.open("expected.jpg")), atol=12)


def test_names_that_differ_by_their_suffix_only(cli):
    scenes("photos", "a.png", "a.jpg", "a.bmp", "b/a.png")
    result = cli("--image-path", "photos", *DEMO)
    assert len({row["overlay"] for row in result.rows}) == len(files_of(result.folder)) == 4


def test_names_of_every_kind(cli):
    names = ["größe 写真.png", 'comma, "quotes".png', "new\nline.png", "=1+1.png", "-x.png", "%20.png"]
    scenes("photos", *names)
    shutil.copy("photos/-x.png", os.fsdecode(b"photos/\xff.png"))
    result = cli("--image-path", "photos", *DEMO)
    assert result.code == 0
    assert {row["path"] for row in result.rows} == {*names, "\\udcff.png"}
    assert all(row["error"] is None for row in result.rows)
    assert Path("output/\\udcff.png.gradcam.jpg").exists()
    before = Path("output/results.jsonl").read_bytes()
    cli("--image-path", "photos", *DEMO, "--resume")
    assert Path("output/results.jsonl").read_bytes() == before


def test_why_a_map_is_blank_stands_in_its_row(cli):
    scenes("photos", "a.png", "c.png")
    state = load_demo_network().state_dict()
    state["fc.weight"][:4] = 0
    state["fc.weight"][0, 0] = 1e-9
    torch.save(state, "mine.pt")
    result = cli("--image-path", "photos", *DEMO, "--weights", "mine.pt", "--category", 1, 8)
    assert (result.code, result.err) == (0, "")
    assert len(result.rows) == 4
    for row in result.rows[::2]:
        assert "gradient is 0 everywhere" in row["warnings"][0]
        assert row["box"] is None
        assert (result.folder / row["overlay"]).exists()
    assert all(row["warnings"] == [] and row["box"] for row in result.rows[1::2])


def test_one_picture_in_a_table(cli):
    scenes(".", "a.png")
    result = cli("--image-path", "a.png", *DEMO, "--methods", "gradcam,layercam")
    assert sorted(files_of(result.folder)) == ["a.png.gradcam.jpg", "a.png.layercam.jpg"]


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(cli, photos, workers):
    expected = cli("--image-path", "photos", *DEMO, "--batch-size", 2)
    result = cli("--image-path", "photos", "--model", "demo", "--workers", workers, "--batch-size", 2, output="with")
    assert timeless(result.rows) == timeless(expected.rows)
    assert files_of(result.folder) == files_of(expected.folder)


def test_report(cli, photos):
    result = cli("--image-path", "photos", *DEMO, "--report")
    assert (result.code, (result.folder / "report.html").exists()) == (0, True)
    assert "report.html" in result.out


# What does not work


def test_no_picture_can_be_read(cli):
    Path("photos").mkdir()
    for name in "ab":
        Path(f"photos/{name}.png").write_text("no picture")
    result = cli("--image-path", "photos", *DEMO)
    assert (result.code, result.err) == (1, "")
    for row in result.rows:
        assert "not an image format that Pillow knows" in row["error"]
        assert row["seconds"] == 0
        left = [name for name, value in row.items() if value is not None]
        assert left == ["path", "seconds", "warnings", "error"]


def test_a_picture_that_a_method_cannot_explain_does_not_take_its_batch_along(cli, photos, monkeypatch):
    dark = to_input(np.zeros_like(SCENES[0]))

    class Afraid(GradCAM):
        def channel_weights(self, evidence):
            if any(torch.equal(image[None], dark) for image in evidence.forward.inputs.images):
                raise ValueError("of the dark")
            return super().channel_weights(evidence)

    monkeypatch.setitem(METHODS, "afraid", Afraid)
    Image.fromarray(np.zeros_like(SCENES[0])).save("photos/b/dark.png")
    result = cli("--image-path", "photos", *DEMO, "--method", "afraid")
    assert result.code == 1
    assert {row["path"]: row["error"] for row in result.rows if row["error"]} == {
        "b/dark.png": "cannot be explained: ValueError: of the dark"
    }
    assert len(files_of(result.folder)) == 5


def test_what_is_not_a_number_is_an_error(cli, photos):
    state = load_demo_network().state_dict()
    state["fc.bias"][3] = float("nan")
    torch.save(state, "mine.pt")
    result = cli("--image-path", "photos", *DEMO, "--weights", "mine.pt", "--category", 3)
    assert result.code == 1
    assert len(result.rows) == 5
    assert all("its score is nan" in row["error"] for row in result.rows)
    assert files_of(result.folder) == {}
    assert cli("--image-path", "photos", *DEMO, "--weights", "mine.pt", "--category", 4).code == 0


def test_a_file_that_cannot_be_written(cli, photos):
    os.makedirs("output/a.png.layercam.jpg")
    Path("output/b").mkdir()
    Path("output/b/e").touch()
    scenes("photos", "n" * 245 + ".png")
    result = cli("--image-path", "photos", *DEMO, "--methods", "gradcam,layercam", "--save-maps")
    failed = {row["path"]: row["error"] for row in result.rows if row["error"]}
    assert [path[:3] for path in failed] == ["a.p", "b/e", "nnn"]
    assert "'a.png.layercam.jpg' is a folder" in failed["a.png"]
    assert all("cannot write its overlay" in error for error in failed.values())
    assert not Path("output/a.png.gradcam.jpg").exists()  # of a picture all files or none
    assert not list(Path("output").rglob("*.tmp"))
    assert result.code == 1


@pytest.mark.skipif(os.getuid() == 0, reason="root may list any folder")
def test_a_folder_that_cannot_be_listed_is_a_row(cli, photos):
    Path("photos/b").chmod(0)
    result = cli("--image-path", "photos", *DEMO)
    Path("photos/b").chmod(0o755)
    assert [(row["path"], bool(row["error"])) for row in result.rows] == [
        ("a.png", False),
        ("b", True),
        ("z.png", False),
    ]


def test_more_failures_than_are_shown(cli, photos):
    for at in range(9):
        Path(f"photos/{at}.png").touch()
    result = cli("--image-path", "photos", *DEMO)
    assert "5 explained, 9 failed" in result.out
    assert len(re.findall("^failed ", result.out, re.M)) == 6
    assert "4 more" in result.out


# Going on


def ages(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.jpg")}


def test_resume_does_what_is_not_complete_and_no_more(cli, photos):
    first = cli("--image-path", "photos", *DEMO, "--save-maps")
    before = ages(first.folder)
    (first.folder / "a.png.gradcam.jpg").unlink()
    (first.folder / "b/c.png.gradcam.jpg").write_bytes(b"")
    (first.folder / "b/d.png.gradcam.npz").unlink()
    Image.fromarray(SCENES[9]).save("photos/z.png")
    scenes("photos", "new.png")
    second = cli("--image-path", "photos", *DEMO, "--save-maps", "--resume")
    after = ages(second.folder)
    redone = {path.name.split(".")[0] for path in after if after[path] != before.get(path)}
    assert redone == {"a", "c", "d", "z", "new"}
    assert [row["path"] for row in second.rows] == ["a.png", "b/c.png", "b/d.png", "b/e/f.png", "new.png", "z.png"]
    fresh = cli("--image-path", "photos", *DEMO, "--save-maps", output="fresh")
    assert timeless(second.rows) == timeless(fresh.rows)
    assert second.folder.joinpath("z.png.gradcam.jpg").read_bytes() == (fresh.folder / "z.png.gradcam.jpg").read_bytes()


@pytest.mark.parametrize(
    "other",
    [
        ("--method", "layercam"),
        ("--methods", "gradcam,layercam"),
        ("--category", "star"),
        ("--whole-picture",),
        ("--save-maps",),
        ("--target-layer", "stage3"),
        ("--eigen-smooth",),
        ("--weights", "mine.pt"),
    ],
)
def test_resume_counts_nothing_that_was_made_otherwise(cli, photos, other):
    torch.save(load_demo_network().state_dict(), "mine.pt")
    cli("--image-path", "photos", *DEMO)
    result = cli("--image-path", "photos", *DEMO, *other, "--resume")
    assert timeless(result.rows) == timeless(cli("--image-path", "photos", *DEMO, *other, output="fresh").rows)
    before = ages(result.folder)
    again = cli("--image-path", "photos", *DEMO, *other, "--resume")
    assert ages(again.folder) == before
    assert timeless(again.rows) == timeless(result.rows)


def test_resume_tries_what_failed_again(cli, photos):
    Path("photos/c.png").write_text("no picture")
    assert cli("--image-path", "photos", *DEMO).code == 1
    scenes("photos", "c.png")
    result = cli("--image-path", "photos", *DEMO, "--resume")
    assert result.code == 0
    assert len(result.rows) == 6


def test_resume_tries_again_though_the_picture_has_not_changed(cli, photos):
    os.makedirs("output/a.png.gradcam.jpg")
    assert cli("--image-path", "photos", *DEMO).code == 1
    os.rmdir("output/a.png.gradcam.jpg")
    assert cli("--image-path", "photos", *DEMO, "--resume").code == 0


def test_a_batch_is_on_record_before_the_one_after_the_next(cli, photos, monkeypatch):
    seen = []

    class Watching(GradCAM):
        def channel_weights(self, evidence):
            seen.append(pictures_done(Path("output")))
            return super().channel_weights(evidence)

    monkeypatch.setitem(METHODS, "watching", Watching)
    cli("--image-path", "photos", *DEMO, "--method", "watching", "--batch-size", 1)
    assert seen == [0, 0, 0, 1, 2, 3]  # the first picture is explained before the others, to find the layer


def test_resume_where_nothing_was_done(cli, photos):
    assert len(cli("--image-path", "photos", *DEMO, "--resume").rows) == 5


def test_without_resume_all_is_done_again_and_nothing_refused(cli, photos):
    before = ages(cli("--image-path", "photos", *DEMO).folder)
    after = ages(cli("--image-path", "photos", *DEMO).folder)
    assert all(after[path] > before[path] for path in before)
    shutil.rmtree("photos/b")
    assert [row["path"] for row in cli("--image-path", "photos", *DEMO).rows] == ["a.png", "z.png"]


def test_a_line_that_is_not_whole_does_not_count(cli, photos):
    cli("--image-path", "photos", *DEMO, "--batch-size", 1)
    (journal,) = [path for path in Path("output/.records").iterdir() if path.name != "kept.jsonl"]
    data = journal.read_bytes()
    for cut in (2, 40, len(data) // 2, len(data) - 3):
        journal.write_bytes(data[:-cut])
        (stale := Path("output/b", f".{'0' * 32}.tmp")).touch()
        result = cli("--image-path", "photos", *DEMO, "--batch-size", 1, "--resume")
        assert (result.code, len(result.rows)) == (0, 5)
        assert not stale.exists()


# A folder as they are: 300 files, 20 of them broken in ten ways

on_wild = pytest.mark.xdist_group("wild")  # with --dist loadgroup one worker builds the folder, and once

FRAMES = [Image.new("RGB", (40, 30), colour) for colour in ("red", "blue")]
BROKEN = {
    "zero.png": lambda path: path.touch(),
    "truncated.jpg": lambda path: _half(path),
    "text.png": lambda path: path.write_text("no picture"),
    "one.png": lambda path: Image.new("RGB", (1, 1), "red").save(path),
    "long.png": lambda path: Image.new("RGB", (30_000, 2), "red").save(path),
    "cmyk.jpg": lambda path: Image.fromarray(SCENES[1]).convert("CMYK").save(path),
    "deep.png": lambda path: Image.fromarray(np.uint16(SCENES[2][..., 0]) * 257).save(path),
    "animated.gif": lambda path: FRAMES[0].save(path, save_all=True, append_images=FRAMES[1:]),
    "forbidden.png": lambda path: (Image.fromarray(SCENES[3]).save(path), path.chmod(0)),
    "dangling.png": lambda path: path.symlink_to("nowhere"),
}
READABLE = {"one.png", "cmyk.jpg", "deep.png"} | ({"forbidden.png"} if os.getuid() == 0 else set())


def _half(path):
    Image.fromarray(SCENES[0]).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


@pytest.fixture(scope="module")
def wild(tmp_path_factory):
    """The folder, and an undisturbed run over it."""
    root = tmp_path_factory.mktemp("wild")
    for at in range(280):
        folder = root / "photos" / ("deep/er" if at % 7 == 0 else "")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(SCENES[at % 12]).rotate(at).save(folder / f"{at:03}.{'png' if at % 2 else 'jpg'}")
    for at in range(2):
        (folder := root / "photos" / f"{at}{'x' * at}").mkdir()
        for name, make in BROKEN.items():
            make(folder / name)
    done = start(root, "calm")
    assert done.wait() == 1
    return root


def start(root, output, *extra, pictures="photos", launcher=(), **options):
    command = [sys.executable, *launcher, ROOT / "cam.py", "--image-path", pictures, "--model", "demo"]
    command += ["--methods", "gradcam,layercam", "--output-dir", output, "--batch-size", "8", "--workers", "1", *extra]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "start_new_session": True, **options}
    return subprocess.Popen(list(map(str, command)), cwd=root, env=environment, text=True, **options)


def kill(process):
    """All of its group at once, as when a machine goes down."""
    with contextlib.suppress(ProcessLookupError):  # a fast machine may be done
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def pictures_done(folder):
    done = 0
    for path in folder.glob(".records/*.jsonl"):
        with contextlib.suppress(FileNotFoundError):  # the run takes away what it has put in another file
            done += path.read_bytes().count(b'"fingerprint"')
    return done


def wait_for_pictures(process, folder, count):
    deadline = time.monotonic() + 60
    while pictures_done(folder) < count and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.002)


def assert_equal_to_undisturbed(root, output):
    assert timeless(tables(root / output)) == timeless(tables(root / "calm"))
    lines = [re.sub(r",[\d.e-]+,", ",", line) for line in (root / output / "results.csv").read_text().splitlines()]
    assert len(lines) == len(tables(root / "calm")) + 1
    assert files_of(root / output) == files_of(root / "calm")


@on_wild
def test_broken_pictures_are_rows(wild):
    rows = tables(wild / "calm")
    by_path = {}
    for row in rows:
        by_path.setdefault(row["path"], []).append(row)
    assert len(by_path) == 300
    good = {path: of for path, of in by_path.items() if not of[0]["error"]}
    assert len([path for path in good if Path(path).name not in BROKEN]) == 280
    assert {Path(path).name for path in by_path if path not in good} == set(BROKEN) - READABLE
    for path, of in by_path.items():
        assert [row["method"] for row in of] == (["gradcam", "layercam"] if path in good else [None])
    reasons = {Path(path).name: by_path[path][0]["error"] for path in by_path if path not in good}
    for name, fact in {
        "zero.png": "the file is empty",
        "truncated.jpg": "truncated",
        "text.png": "not an image format that Pillow knows",
        "long.png": "30000 x 2 would be resized to 1920000 x 128",
        "animated.gif": "it holds 2 ",
        "dangling.png": "no such file",
    }.items():
        assert fact in reasons[name]
    assert sorted(files_of(wild / "calm")) == sorted(row["overlay"] for row in rows if row["overlay"])


@on_wild
@pytest.mark.soak
def test_killed_and_resumed(wild, request):
    kills = 10 if request.config.getoption("markexpr") == "soak" else 3
    rng = random.Random(0)
    shutil.rmtree(wild / "killed", ignore_errors=True)
    for more in ([1, 8, 12, 0] * 3)[:kills]:
        before = pictures_done(wild / "killed")
        process = start(wild, "killed", "--resume")
        wait_for_pictures(process, wild / "killed", before + more)
        time.sleep(rng.uniform(0, 0.03))
        kill(process)
        for path in (wild / "killed").rglob("*.gradcam.jpg"):
            with Image.open(path) as overlay:
                overlay.load()  # whole, whenever it is looked at
    assert 20 < pictures_done(wild / "killed") < 288
    assert not (wild / "killed" / "results.csv").exists()
    last = start(wild, "killed", "--resume")
    assert last.wait() == 1
    assert_equal_to_undisturbed(wild, "killed")


@on_wild
def test_interrupted_by_ctrl_c(wild):
    process = start(wild, "interrupted")
    wait_for_pictures(process, wild / "interrupted", 20)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert re.fullmatch(r"cam\.py: interrupted; results so far are in 'interrupted'; continue with --resume\n", err)
    rows = tables(wild / "interrupted")
    assert 0 < len(rows) < len(tables(wild / "calm"))
    assert {row["overlay"] for row in rows if row["overlay"]} <= set(files_of(wild / "interrupted"))
    assert set(timeless(rows)) <= set(timeless(tables(wild / "calm")))
    assert start(wild, "interrupted", "--resume").wait() == 1
    assert_equal_to_undisturbed(wild, "interrupted")


@on_wild
def test_two_processes_equal_one(wild):
    process = start(wild, "two", launcher=TORCHRUN)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert len(re.findall("^images ", out, re.M)) == 1
    journals = [(wild / "two" / ".records" / f"{rank}.jsonl").read_text("utf-8") for rank in range(2)]
    shares = [{record["path"] for line in text.split("\n") if line for record in json.loads(line)} for text in journals]
    assert sorted(map(len, shares)) == [148, 152]  # 38 batches of 8, the last one of 4
    assert not shares[0] & shares[1]
    assert_equal_to_undisturbed(wild, "two")


@on_wild
def test_two_processes_write_a_report_though_some_pictures_failed(wild):
    """torchrun ends all processes once one of them ends with an error."""
    process = start(wild, "reported", "--report", launcher=TORCHRUN)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "report.html" in out
    assert (wild / "reported" / "report.html").read_text("utf-8").rstrip().endswith("</html>")


@on_wild
def test_a_killed_process_leaves_a_run_that_resume_completes(wild):
    psutil = pytest.importorskip("psutil")
    process = start(wild, "widowed", launcher=TORCHRUN)
    wait_for_pictures(process, wild / "widowed", 30)
    ranks = psutil.Process(process.pid).children()
    victim = next(rank for rank in ranks if rank.environ().get("RANK") == "1")
    victim.kill()
    process.communicate(timeout=120)
    assert process.returncode != 0
    assert not (wild / "widowed" / "results.csv").exists()
    process = start(wild, "widowed", "--resume", launcher=TORCHRUN)
    process.communicate(timeout=120)
    assert process.returncode == 1
    assert_equal_to_undisturbed(wild, "widowed")


@on_wild
def test_bad_usage_of_two_processes_is_one_line(wild):
    process = start(wild, "nothing", pictures="photos/nothing*", launcher=TORCHRUN)
    _, err = process.communicate(timeout=120)
    assert len(re.findall("cam.py: error: ", err)) == 1
    assert not (wild / "nothing").exists()


def test_narrow_pictures_of_which_the_network_saw_less_than_a_pixel(cli):
    for width, height in ((1, 8), (300, 1), (1, 3000)):
        Image.new("RGB", (width, height), "red").save(f"{width}.{height}.png")
    done = cli("--image-path", ".", *DEMO, "--whole-picture")
    assert [row["error"] for row in done.rows] == [None] * 3
    for path in Path().glob("*.png"):
        with Image.open(done.folder / f"{path.name}.gradcam.jpg") as shown:
            assert ".".join(map(str, shown.size)) == path.stem
        one = cli("--image-path", path, *DEMO[:2], "--whole-picture", output="one")
        assert one.code == 0


def test_a_folder_is_not_explained_by_another_network(cli, photos, offline):
    done = cli("--image-path", photos, "--workers", "0")
    assert done.code == 2
    assert done.rows is None
    assert "cannot load the pretrained weights of resnet50" in done.err
    assert "to choose the network: --model NAME, --weights FILE" in done.err
    assert "\n" not in done.err.strip()


def test_paths_and_methods_that_are_given_again_add_up(cli, photos):
    first, second, *_ = sorted(photos.rglob("*.png"))
    done = cli("--image-path", first, "--image-path", second, "--methods", "gradcam", "--methods", "layercam", *DEMO)
    assert len({row["path"] for row in done.rows}) == 2
    assert {row["method"] for row in done.rows} == {"gradcam", "layercam"}


def test_a_report_of_an_earlier_run_is_named(cli, photos):
    assert "left" not in cli("--image-path", photos, *DEMO, "--report").out
    assert "report.html, of an earlier run; --report writes it again" in cli("--image-path", photos, *DEMO).out
    assert "left" not in cli("--image-path", photos, *DEMO, "--report").out
