"""The parts of `python -m benchmarks` that can be wrong without anybody seeing it on the page."""

import contextlib
import json
import math
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from benchmarks.lines import count_lines, files_needed
from benchmarks.pieces import PIECES, Stopwatch, seconds_of_pieces

from benchmarks import imports
from benchmarks.__main__ import main
from benchmarks.cases import Case
from benchmarks.floors import FLOORS, floor_ablation, floor_gradient, floor_score
from benchmarks.goals import at_least, at_most, goals
from benchmarks.growth import axes, slope
from benchmarks.libraries import LIBRARIES, METHODS, Task
from benchmarks.machine import ticks
from benchmarks.measure import ratio_beside
from benchmarks.networks import NETWORKS, last_layer, load, noise
from benchmarks.page import headline, sections, write_headline, write_page
from benchmarks.plan import full_times
from benchmarks.results import Results
from benchmarks.run import unit
from benchmarks.worker import forward
from pytorch_grad_cam import METHODS as OURS
from pytorch_grad_cam import GradCAM

pytestmark = pytest.mark.filterwarnings("ignore::pytorch_grad_cam.BlankMapWarning")  # of random weights
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("network", FLOORS)
def test_floor_gives_the_gradient_that_the_library_sees(network):
    model = load(network)
    images = noise(1, 224 if network == "vit_b_16" else 64)
    classes = torch.tensor([7])
    (evidence,) = GradCAM(model, last_layer(network)).explain(images, classes.tolist()).evidence
    floor = floor_gradient(network, model, images, classes)
    if network == "vit_b_16":
        floor = floor[:, 1:].reshape(1, 14, 14, -1)
    if network in ("vit_b_16", "swin_t"):
        floor = floor.movedim(-1, 1)
    found = evidence.gradients[:, 0]
    assert floor.abs().max() > 0
    assert (found - floor).abs().max() <= 1e-5 * floor.abs().max()


@pytest.mark.parametrize("network", FLOORS)
def test_floors_of_perturbation_score_a_copy_for_each_channel(network):
    model = load(network)
    images = noise(1, 224 if network == "vit_b_16" else 64)
    scores = forward(model, images)
    evidence = GradCAM(model, last_layer(network)).explain(images, 7).evidence[0]
    for copies, channels in (
        (floor_ablation(network, model, images), evidence.activations.shape[2]),
        (floor_score(network, model, images, 11), 11),
    ):
        assert copies.shape == (channels, 1000)
        assert (copies - scores).abs().max() <= 1e-4 * scores.abs().max()


@pytest.mark.parametrize("method", METHODS)
def test_this_library_is_called_as_its_users_call_it(method):
    case = Case("channels-8", method)
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    task = Task(case, load(case.network), images, torch.tensor([3, 5]))
    with LIBRARIES["here"].start(task) as call:
        found = call()
    assert np.array_equal(found, getattr(sys.modules["pytorch_grad_cam"], method)(task.model, "1")(task.images, [3, 5]))


def test_every_method_is_measured():
    assert sorted(METHODS) == sorted(method.__name__ for method in OURS.values())


def test_the_full_run_takes_every_method_to_every_network():
    asked = {(case.network, case.method) for block in full_times() for case in block.cases}
    assert asked >= {(network, method) for network in NETWORKS for method in METHODS}


def test_a_library_is_asked_only_for_what_it_has():
    assert not LIBRARIES["captum"].can(Case("vit_b_16", "GradCAM"))
    assert LIBRARIES["torchcam"].can(Case("vit_b_16", "GradCAM"))
    assert not LIBRARIES["torchcam"].can(Case("resnet50", "AblationCAM"))
    assert not LIBRARIES["floor"].can(Case("resnet50", "GradCAM", layer="layer1"))
    assert LIBRARIES["floor"].can(Case("resnet50", "AblationCAM"))
    assert LIBRARIES["floor"].can(Case("resnet50", "ScoreCAM", channels=32))
    assert not LIBRARIES["floor"].can(Case("resnet50", "ScoreCAM")), "minutes"
    assert LIBRARIES["grad-cam"].can(Case("resnet50", "GradCAM", aug_smooth=True))
    assert not LIBRARIES["grad-cam"].can(Case("resnet50", "ScoreCAM", channels=32))


def test_worker_answers_by_lines_and_names_its_errors():
    requests = [
        {"measure": "seconds", "case": Case("channels-8", "GradCAM", size=32).to_json(), "warm_up": True},
        {"measure": "memory", "case": Case("channels-8", "GradCAM", size=32).to_json()},
        {"measure": "after", "case": Case("channels-8", "EigenCAM", size=32).to_json()},
        {"measure": "seconds", "case": Case("channels-8", "GradCAM", layer="missing").to_json()},
    ]
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks.worker", "here"],
        input="".join(json.dumps(request) + "\n" for request in requests),
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    times, memory, after, error = map(json.loads, ran.stdout.splitlines())
    assert len(times["answer"]["forward"]) == len(times["answer"]["call"])
    assert set(memory["answer"]) == {"forward", "call"}
    assert 0 < after["answer"] < 10
    assert "missing" in error["error"]


@pytest.mark.parametrize("method", ["GradCAM", "EigenCAM"])
def test_pieces_of_a_call_make_up_the_whole(method):
    cam = getattr(sys.modules["pytorch_grad_cam"], method)(load("channels-8"), "1")
    images = noise(1, 32)
    maps = []
    before = time.perf_counter()
    found = seconds_of_pieces(cam, lambda: maps.append(cam(images, 3)))
    took = time.perf_counter() - before
    assert set(found) == {*PIECES, "all else"}
    assert all(seconds > 0 for seconds in found.values())
    assert sum(found.values()) <= took
    assert np.array_equal(maps[0], cam(images, 3))  # and the library is as before
    assert "charged" not in cam.channel_weights.__qualname__


def test_only_the_inner_of_two_pieces_is_charged(monkeypatch):
    now = 0.0
    monkeypatch.setattr("benchmarks.pieces.time.perf_counter", lambda: now)

    def wait(seconds):
        nonlocal now
        now += seconds

    watch = Stopwatch()
    inner = watch.charged("inner", lambda: wait(5))
    watch.charged("outer", lambda: (wait(1), inner(), wait(2), inner()))()
    with watch.charged("block", lambda: contextlib.ExitStack())():
        wait(100)  # what a context manager surrounds is not its own
    assert watch.spent == {"inner": 10, "outer": 3, "block": 0}


def test_import_is_compared_with_that_of_torch_in_the_same_process(monkeypatch, tmp_path):
    of_torch = iter([9.0, 9.0, 1.0, 4.0, 2.0, 1.0])  # in turn, from one process to the next

    def measured(module, place, needs):
        seconds = next(of_torch)
        return imports._Import(seconds, seconds * (1.0 if module == "torch" else 1.5), 100)

    monkeypatch.setattr(imports, "_import", measured)
    costs = imports.import_costs(["floor", "here"], tmp_path, 3)
    assert costs["torch"] == {"seconds": 1.0, "beside_torch": 1.0, "modules": 100}  # the first round, 9, is left out
    assert costs["here"] == {"seconds": 1.5 * 3, "beside_torch": 1.5, "modules": 100}


def test_import_of_torch_is_part_of_an_import(tmp_path):
    found = imports._import("pytorch_grad_cam", ROOT, tmp_path)
    assert 0.1 < found.of_torch < found.seconds  # that of something already imported takes microseconds
    assert found.modules > 500


def test_lines_of_code():
    source = (
        '"""Doc."""\n\n# why\nx = 1  # a comment\n\n\ndef f():\n    """Doc\n\n    more."""\n    return """a\n\nb"""\n'
    )
    assert count_lines(source) == 1 + 1 + 3


def test_files_that_a_module_needs(tmp_path):
    package = tmp_path / "p"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "a.py").write_text("from p.b import x\nimport os\n")
    (package / "b.py").write_text("def f():\n    from . import c\n")
    (package / "c.py").write_text("")
    (package / "d.py").write_text("")
    assert {path.name for path in files_needed(package, ["p.a"])} == {"__init__.py", "a.py", "b.py", "c.py"}


def test_slope_of_a_log_log_line():
    x = [1, 2, 8]
    assert math.isclose(slope(x, [3 * a**1.5 for a in x]), 1.5)
    assert math.isclose(slope(x, [4, 4, 4]), 0, abs_tol=1e-12)
    with pytest.raises(ValueError, match="two points or more, and there are 1"):
        slope([1], [1])


def test_growth_is_not_that_of_a_machine_that_grows_slower():
    axis = axes(quick=True)[0]
    found = Results()
    for i, (x, case) in enumerate(axis.points):
        for name, cost, drift in (("here", 1.5, 1.0), ("floor", 1.25, 1.0), ("grad-cam", 3.0, 1.0 + i)):
            found.add("seconds", name, case, {"forward": [drift * x], "call": [drift * x * cost]})
    assert axis.forward(found) == [(x, x) for x, _ in axis.points]
    assert axis.line(found, "grad-cam", "GradCAM") == [(x, 3 * x) for x, _ in axis.points]
    assert axis.line(found, "torchcam", "GradCAM") == []


@pytest.fixture
def little():
    """As where memory ended at the first larger batch, and the run was stopped."""
    found = Results(about={"quick": True, "libraries": list(LIBRARIES)} | dict.fromkeys(ABOUT, "?"))
    found.add("seconds", "here", Case("resnet50", "GradCAM"), {"forward": [1.0], "call": [1.5]})
    return found


def test_growth_of_what_was_not_measured_everywhere(little):
    assert axes(quick=True)[0].line(little, "here", "GradCAM") == [(1, 1.5)]
    assert "# How time grows" not in "\n".join(sections(little, "plot.png"))


def test_plot_of_what_was_not_measured_everywhere(little, tmp_path):
    pytest.importorskip("matplotlib", reason="of the extra bench")
    write_page(little, tmp_path / "page.md")
    assert cv2.imread(str(tmp_path / "page.png")).std() > 0


def test_ticks_of_a_virtual_machine(tmp_path):
    """man proc_stat: user, nice, system, idle, iowait, irq, softirq, steal, guest, guest_nice; in sum first."""
    path = tmp_path / "stat"
    path.write_text("cpu  100 20 30 4000 500 6 7 80 9 1\ncpu0 1 2 3 4 5 6 7 8 9 1\nintr 5\n")
    assert ticks(path) == (243, 80)
    assert ticks(tmp_path / "none") is None


def test_a_call_is_compared_with_the_pass_before_it():
    assert ratio_beside([1.0, 2.0, 4.0], [4.0, 4.0, 4.0]) == 2


def test_maps_are_stretched_before_they_are_compared():
    maps = np.array([[[1.0, 3.0]], [[2.0, 2.0]]])
    assert unit(maps).tolist() == [[[0, 1]], [[0, 0]]]


def test_goals_name_the_worst_and_hide_no_miss():
    assert at_most("x", 1.05, {"a": 1.0, "b": 1.2, "c": None}).reached is False
    assert at_most("x", 1.05, {"a": 1.0, "b": 1.2}).measured == "1.20 (b); median 1.10; 1 of 2 reach it"
    assert at_least("x", 100, {"a": 150, "b": 120}).reached is True
    assert at_most("x", 1.05, {"a": None}).reached is None


@pytest.fixture
def results():
    found = Results(about={"quick": True, "libraries": list(LIBRARIES)} | dict.fromkeys(ABOUT, "?"))
    for axis in axes(quick=True):
        for _, case in axis.points:
            for name, cost in (("here", 1.5), ("floor", 1.25), ("grad-cam", 3.0)):
                found.add("seconds", name, case, {"forward": [1.0], "call": [cost]})
    found.add("memory", "here", Case("resnet50", "GradCAM"), {"forward": 100, "call": 101})
    found.add("maps", "grad-cam", Case("resnet50", "GradCAM"), 0.25)
    pieces = {"fuse": 0.0004}
    found.tables["pieces"] = [
        {"network": "resnet50", "method": "GradCAM", "forward": 0.03, "floor": 0.031, "pieces": pieces}
    ]
    return found


ABOUT = ("date", "device", "processor", "cores", "threads", "system", "python", "torch", "torchvision", "version")


def test_page_shows_each_figure_and_what_was_missed(results):
    page = "\n".join(sections(results, "plot.png"))
    assert "| ResNet-50 | GradCAM | 1 | 1.25 | 1.50 | 3.00 | - | - |" in page
    assert "| ResNet-50 | GradCAM | 0.250 | - | - |" in page
    rows = {goal.what: goal for goal in goals(results)}
    assert rows["gradient methods, last layer, batch 1: time beside the floor"].reached is False  # 1.2
    assert rows["gradient methods, last layer: memory beside the forward pass"].reached is True
    assert rows["importing: time beside that of torch"].reached is None
    assert rows["every row: time beside the fastest peer"].reached is True
    assert "| at most 1.10 | 1.20" in page
    assert "- gradient methods, last layer, batch 1: time beside the floor: a call spends" in page
    assert "- gradient methods, last layer: memory" not in page  # it is reached
    assert "|  | ResNet-50, GradCAM |" in page
    assert "| fuse | 0.40 |" in page
    assert "**no**" in page
    assert "Its host" not in page
    results.about["stolen"] = 0.123
    results.about["again"] = "importing"
    assert "Its host gave 12% of the time" in "".join(sections(results, "plot.png"))
    assert "Measured again after this run, as a run does it now: importing." in "".join(sections(results, "plot.png"))


def test_results_come_back_from_their_file(results, tmp_path):
    results.path = tmp_path / "some" / "results.json"
    results.write()
    again = Results.read(results.path)
    assert "\n".join(sections(again, "plot.png")) == "\n".join(sections(results, "plot.png"))


def test_calls_that_ran_once_are_compared_by_their_seconds(results):
    case = Case("resnet50", "ScoreCAM")
    for name, plain, seconds in (("here", 0.2, 100.0), ("grad-cam", 0.1, 125.0)):
        results.add("once", name, case, {"seconds": {"forward": [plain], "call": [seconds]}, "peak": 1})
    assert results.ratio("here", case) == pytest.approx(100 / 0.15)
    assert results.ratio("here", case) / results.ratio("grad-cam", case) == pytest.approx(0.8)


def test_headline_goes_between_its_marks(results, tmp_path):
    page = tmp_path / "README.md"
    page.write_text("before <!-- benchmarks -->\nold\n<!-- /benchmarks --> after")
    write_headline(results, page)
    assert page.read_text() == f"before <!-- benchmarks -->\n{headline(results)}\n<!-- /benchmarks --> after"
    assert "| GradCAM | 1.50 | 3.00 | - | - |" in headline(results)
    page.write_text("no marks")
    with pytest.raises(SystemExit, match="<!-- benchmarks -->"):
        write_headline(results, page)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--device", "tpu9"], "'tpu9' cannot be used"),
        (["--quick", "--page"], "leave out --quick"),
        (["--fast"], "unrecognized arguments: --fast"),
    ],
)
def test_bad_arguments_get_one_clear_line(arguments, says, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert says in capsys.readouterr().err.splitlines()[-1]
