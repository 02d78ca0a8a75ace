"""Every module path and public name of grad-cam 1.5.7 can be imported."""

import importlib

import pytest

from pytorch_grad_cam import METHODS
from pytorch_grad_cam._compat import not_implemented
from tests.helpers.peer_names import NAMES


@pytest.mark.parametrize("module", NAMES)
def test_every_name_of_a_module_can_be_imported(module):
    imported = importlib.import_module(module)
    assert [name for name in NAMES[module] if not hasattr(imported, name)] == []


def test_what_is_not_implemented_says_so():
    names = [name for name in vars(not_implemented) if not name.startswith("_") and name != "Any"]
    assert "FullGrad" in names
    assert not {method.__name__ for method in METHODS.values()} & set(names), "it is implemented by now"
    for name in names:
        with pytest.raises(NotImplementedError, match=f"^{name} of grad-cam 1.x is not implemented yet; "):
            getattr(not_implemented, name)(None, [])
