"""The model as the library uses it, checked."""

import torch
from torch import nn


def prepare_model(model: nn.Module, use_cuda: bool) -> nn.Module:
    """The module whose hooks fire, moved to the GPU if asked for.

    Raises:
        TypeError: if its layers cannot be observed.
        ValueError: if its weights have no values.
        RuntimeError: if there is no GPU.
    """
    module = underlying_module(model)
    if any(parameter.is_meta for parameter in module.parameters()):
        raise ValueError(
            f"weights of {type(module).__name__} are on the meta device and have no values; load them first, as with "
            "load_state_dict(weights, assign=True)"
        )
    if use_cuda and not torch.cuda.is_available():
        raise RuntimeError("use_cuda=True, but PyTorch finds no GPU; leave it out to run where the model is")
    return module.cuda() if use_cuda else module


def underlying_module(model: nn.Module) -> nn.Module:
    """The module whose hooks fire: what `torch.compile` or DataParallel wrap.

    Raises:
        TypeError: for anything that is no nn.Module, and for a ScriptModule, whose layers run no Python hooks.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model is {type(model).__name__}, expected a torch.nn.Module")
    if isinstance(model, torch.jit.ScriptModule):
        raise TypeError("model is a ScriptModule, whose layers cannot be observed; give the nn.Module it was made from")
    if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
        return underlying_module(model.module)
    compiled = getattr(model, "_orig_mod", None)  # of torch.compile's OptimizedModule
    return model if compiled is None else underlying_module(compiled)
