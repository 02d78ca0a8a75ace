"""500 calls of each method leave nothing behind; `pytest -m soak -s` prints the figures."""

import gc
import os

import numpy as np
import psutil
import pytest
import torch

from pytorch_grad_cam import METHODS
from tests.helpers.tiny_networks import ConvNet

WARM_UP, CALLS = 100, 500


@pytest.mark.soak
@pytest.mark.parametrize("method", METHODS)
def test_five_hundred_calls_leave_nothing_behind(method, tmp_path, monkeypatch, record_property):
    monkeypatch.chdir(tmp_path)
    process, model = psutil.Process(), ConvNet().eval()
    images = torch.randn(2, 3, 96, 96)
    cam = METHODS[method](model, model.features)
    first = cam(images, 1)
    resident, tensors, files = [], [], []
    gc.collect()
    gc.freeze()  # what other tests imported need not be searched each time
    for call in range(WARM_UP + CALLS):
        maps = cam(images, 1)
        if call >= WARM_UP and call % 10 == 0:
            gc.collect()
            resident.append(process.memory_info().rss)
            tensors.append(sum(issubclass(type(one), torch.Tensor) for one in gc.get_objects()))
            files.append(process.num_fds() if hasattr(process, "num_fds") else 0)
    gc.unfreeze()
    calls = np.arange(len(resident)) * 10
    slope = np.polyfit(calls, resident, 1)[0]
    kept = f"{slope:+.0f} bytes a call, {tensors[-1] - tensors[0]} tensors, {files[-1] - files[0]} open files"
    print(f"\n{method}: {kept}")
    record_property(method, f"{CALLS} calls: {kept}")
    assert abs(slope) * CALLS < 4 * 2**20, f"{slope} bytes a call"
    assert tensors[-1] == tensors[0]
    assert files[-1] == files[0]
    assert not os.listdir(tmp_path)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert np.array_equal(maps, first)
