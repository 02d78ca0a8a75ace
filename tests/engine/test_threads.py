"""One model in many threads: every map is that of a thread alone, and no plain forward pass is disturbed."""

from concurrent.futures import ThreadPoolExecutor
from threading import Event, Thread

import numpy as np
import pytest
import torch

from pytorch_grad_cam import METHODS, GuidedBackpropReLUModel
from tests.helpers.tiny_networks import ConvNet

THREADS = 8


@pytest.fixture
def model():
    return ConvNet(inplace=True).double().eval()


@pytest.mark.parametrize("layer", ["features", None])
def test_eight_threads_explain_while_others_run_the_model(model, layer, record_property):
    pictures = [torch.randn(2, 3, 12, 16, dtype=torch.float64) for _ in range(THREADS)]
    jobs = [(name, number) for name in METHODS for number in range(THREADS)] * 3
    jobs.sort(key=lambda job: hash(job[0]) + job[1])

    def explain(job):
        name, number = job
        return METHODS[name](model, layer)(pictures[number], number % 4)

    alone = {job: explain(job) for job in dict.fromkeys(jobs)}
    plain = [model(picture).detach() for picture in pictures]
    stop, passes, disturbed = Event(), [], []

    def run(number):
        with torch.no_grad():
            while not stop.is_set():
                output = model(pictures[number])
                passes.append(1)
                if output.requires_grad or not torch.equal(output, plain[number]):
                    disturbed.append(number)

    runners = [Thread(target=run, args=(number,)) for number in range(2)]
    for runner in runners:
        runner.start()
    try:
        with ThreadPoolExecutor(THREADS) as pool:
            maps = list(pool.map(explain, jobs))
    finally:
        stop.set()
        for runner in runners:
            runner.join()
    assert all(np.allclose(one, alone[job], atol=1e-6) for one, job in zip(maps, jobs, strict=True))
    assert passes
    assert not disturbed
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert not any("forward" in vars(module) for module in model.modules())
    given = "the layer found in each call" if layer is None else "the layer given"
    record_property(given, f"{len(jobs)} calls in {THREADS} threads while 2 others ran the model {len(passes):,} times")


def test_guided_backpropagation_in_one_thread_leaves_the_relus_of_others_alone():
    model = ConvNet().double().eval()
    images = torch.randn(2, 3, 12, 16, dtype=torch.float64)

    def gradient():
        x = images.clone().requires_grad_()
        (result,) = torch.autograd.grad(model(x)[:, 1].sum(), x)
        return result

    expected, guided = gradient(), GuidedBackpropReLUModel(model)(images, 1)
    with ThreadPoolExecutor(THREADS) as pool:
        plain = [pool.submit(gradient) for _ in range(40)]
        others = [pool.submit(GuidedBackpropReLUModel(model), images, 1) for _ in range(40)]
        assert all(torch.equal(one.result(), expected) for one in plain)
        assert all(np.array_equal(one.result(), guided) for one in others)


@pytest.mark.parametrize("name", METHODS)
def test_several_threads_in_one_operation_change_rounding_alone(model, name):
    """As users have it; all other tests run on one."""
    images, before = torch.randn(4, 3, 96, 128, dtype=torch.float64), torch.get_num_threads()
    alone = METHODS[name](model, "features")(images, 1)
    torch.set_num_threads(4)
    try:
        together = METHODS[name](model, "features")(images, 1)
    finally:
        torch.set_num_threads(before)
    assert alone.any()
    assert np.allclose(together, alone, atol=1e-6)
