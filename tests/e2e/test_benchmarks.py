"""Mistakes of `python -m benchmarks` that nobody would see on its pages."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.__main__ import main
from benchmarks.cost.case import Case
from benchmarks.cost.goals import GOALS, judge
from benchmarks.cost.libraries import LIBRARIES, METHODS, Task
from benchmarks.cost.measure import ratio_beside
from benchmarks.cost.networks import NETWORKS, load, network_of, noise
from benchmarks.cost.page import headline, sections, write_headline
from benchmarks.cost.plan import times
from benchmarks.cost.results import Results
from benchmarks.cost.run import stretch
from benchmarks.cost.scaling import axes, slope
from benchmarks.quality.statistics import cell, interval
from pytorch_grad_cam import METHODS as OURS
from pytorch_grad_cam import GradCAM

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.filterwarnings("ignore::pytorch_grad_cam.BlankMapWarning"),  # of random weights
]
ROOT = Path(__file__).parents[2]
ABOUT = ("date", "device", "machine", "versions")


@pytest.mark.parametrize("network", NETWORKS)
def test_lower_bound_gives_the_gradient_that_the_library_sees(network):
    model, layer = load(network), network_of(network).last
    images, classes = noise(1, 224 if network == "vit_b_16" else 64), torch.tensor([7])
    (evidence,) = GradCAM(model, layer).explain(images, classes.tolist()).evidence
    with LIBRARIES["bound"].start(
        Task(Case(network, "GradCAM"), model, images, classes, model.get_submodule(layer))
    ) as f:
        bound = f()
    assert all(parameter.requires_grad for parameter in model.parameters())
    transform = NETWORKS[network].transform
    bound = transform(bound) if transform else bound
    assert bound.abs().max() > 0
    assert (evidence.gradients[:, 0] - bound).abs().max() <= 1e-5 * bound.abs().max()


@pytest.mark.parametrize("method", METHODS)
def test_this_library_is_called_as_its_users_call_it(method):
    case = Case("channels-8", method)
    model = load(case.network)
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    with LIBRARIES["here"].start(Task(case, model, images, torch.tensor([3, 5]), model[1])) as call:
        maps = call()
    assert np.array_equal(maps, getattr(sys.modules["pytorch_grad_cam"], method)(model, "1")(images, [3, 5]))


def test_every_method_is_measured():
    assert sorted(METHODS) == sorted(method.__name__ for method in OURS.values())
    asked = {(case.network, case.method) for block in times(quick=False) for case in block.cases}
    assert asked >= {(network, method) for network in NETWORKS for method in METHODS}


def test_a_library_is_asked_only_for_what_it_has():
    assert not LIBRARIES["captum"].can(Case("vit_b_16", "GradCAM"))
    assert LIBRARIES["torchcam"].can(Case("vit_b_16", "GradCAM"))
    assert not LIBRARIES["torchcam"].can(Case("resnet50", "AblationCAM"))
    assert not LIBRARIES["bound"].can(Case("resnet50", "AblationCAM"))
    assert LIBRARIES["grad-cam"].can(Case("resnet50", "GradCAM", aug_smooth=True))
    assert not LIBRARIES["grad-cam"].can(Case("resnet50", "ScoreCAM", channels=32))


def test_worker_answers_by_lines_and_names_its_errors():
    requests = [
        {"measure": "seconds", "case": vars(Case("channels-8", "GradCAM", size=32))},
        {"measure": "memory", "case": vars(Case("channels-8", "GradCAM", size=32))},
        {"measure": "once", "case": vars(Case("channels-8", "EigenCAM", size=32))},
        {"measure": "seconds", "case": vars(Case("channels-8", "GradCAM", layer="missing"))},
    ]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.cost.worker", "here"],
        input="".join(json.dumps(request) + "\n" for request in requests),
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    seconds, memory, once, error = map(json.loads, done.stdout.splitlines())
    assert len(seconds["answer"]["forward"]) == len(seconds["answer"]["call"]) > 0
    assert set(memory["answer"]) == {"forward", "call"}
    assert len(once["answer"]["seconds"]["call"]) == 1
    assert "missing" in error["error"]


def test_slope_of_a_log_log_line():
    assert math.isclose(slope([(x, 3 * x**1.5) for x in (1, 2, 8)]), 1.5)
    assert math.isclose(slope([(x, 4) for x in (1, 2, 8)]), 0, abs_tol=1e-12)


def test_growth_is_not_that_of_a_machine_that_grows_slower():
    axis = axes(quick=True)[0]
    results = Results()
    for i, (x, case) in enumerate(axis.points):
        for name, cost, drift in (("here", 1.5, 1.0), ("bound", 1.25, 1.0), ("grad-cam", 3.0, 1.0 + i)):
            results.add("seconds", name, case, {"forward": [drift * x], "call": [drift * x * cost]})
    assert axis.line(results, "grad-cam", "GradCAM") == [(x, 3 * x) for x, _ in axis.points]
    assert axis.line(results, "torchcam", "GradCAM") == []


def test_a_call_is_compared_with_the_pass_before_it():
    assert ratio_beside({"forward": [1.0, 2.0, 4.0], "call": [4.0, 4.0, 4.0]}) == 2


def test_maps_are_stretched_before_they_are_compared():
    maps = np.array([[[1.0, 3.0]], [[2.0, 2.0]]])
    assert stretch(maps).tolist() == [[[0, 1]], [[0, 0]]]


def test_goals_name_the_worst_and_hide_no_miss():
    assert judge(1.05, {"a": 1.0, "b": 1.2, "c": None}) == ("1.20 (b); 1 of 2 reach it", False)
    assert judge(1.25, {"a": 1.0, "b": 1.2}) == ("1.20 (b); 2 of 2 reach it", True)
    assert judge(1.05, {"a": None})[1] is None


@pytest.fixture
def results():
    results = Results(about={"quick": True, "libraries": list(LIBRARIES)} | dict.fromkeys(ABOUT, "?"))
    for axis in axes(quick=True):
        for _, case in axis.points:
            for name, cost in (("here", 1.5), ("bound", 1.0), ("grad-cam", 3.0)):
                results.add("seconds", name, case, {"forward": [1.0], "call": [cost]})
    results.add("memory", "here", Case("resnet50", "GradCAM"), {"forward": 100, "call": 101})
    results.add("maps", "grad-cam", Case("resnet50", "GradCAM"), 0.25)
    score = Case("resnet50", "ScoreCAM")
    for name, peak in (("here", 1), ("grad-cam", 8)):
        results.add("once", name, score, {"seconds": {"forward": [0.1], "call": [100.0]}, "peak": peak * 2**20})
    return results


def test_page_shows_each_figure_and_what_was_missed(results):
    page = "\n".join(sections(results))
    assert "| ResNet-50 | GradCAM | 1 | 1.00 | 1.50 | 3.00 | - | - |" in page
    assert "| ResNet-50 | GradCAM | 0.250 | - | - |" in page
    assert "| ResNet-50 | ScoreCAM | 1 | - | 1.00 | 8.00 | - | - |" in page
    reached = {goal.title: judge(goal.limit, goal.figures(results))[1] for goal in GOALS}
    assert reached["gradient methods: time / lower bound"] is False
    assert reached["ScoreCAM, ResNet-50: memory / grad-cam"] is True
    assert reached["aug_smooth: forward passes"] is None
    assert reached["every row: time / fastest peer"] is True
    assert "**no**" in page


def test_results_come_back_from_their_file(results, tmp_path):
    results.path = tmp_path / "new" / "results.json"
    results.write()
    assert list(sections(Results.read(results.path))) == list(sections(results))


def test_headline_goes_between_its_marks(results, tmp_path):
    page = tmp_path / "README.md"
    page.write_text("before <!-- benchmarks -->\nold\n<!-- /benchmarks --> after")
    write_headline(results, page)
    assert page.read_text() == f"before <!-- benchmarks -->\n{headline(results)}\n<!-- /benchmarks --> after"
    assert "| GradCAM | 1.50 | 3.00 | - | - |" in headline(results)
    page.write_text("no marks")
    with pytest.raises(SystemExit, match="<!-- benchmarks -->"):
        write_headline(results, page)


def test_intervals_are_over_scenes():
    assert interval(np.array([[0.0, 1.0], [1.0, 0.0]])) == (0.5, 0)
    assert cell("box", {"box": np.ones((4, 2))}) == "100.0 ± 0.0"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--device", "tpu9"], "'tpu9' cannot be used"),
        (["--quick", "--page"], "leave out --quick"),
        (["--fast"], "unrecognized arguments: --fast"),
    ],
)
def test_bad_arguments_get_one_clear_line(arguments, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
