"""Names that code written for `grad-cam` 1.x imports beside those it uses; to use one is an error that says so."""

from typing import Any


class _NotHere:
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError(f"{type(self).__name__} of grad-cam 1.x is not in this library; {self._instead()}")

    def _instead(self) -> str:
        from pytorch_grad_cam import METHODS

        return f"it has {', '.join(method.__name__ for method in METHODS.values())}"


class ActivationsAndGradients(_NotHere):
    """Not in this library."""

    def _instead(self) -> str:
        return (
            "`explain` gives activations and gradients: GradCAM(model, target_layers).explain(images, targets).evidence"
        )


class NoHooks:
    """All there is of `cam.activations_and_grads` of grad-cam 1.x."""

    def release(self) -> None:
        """Nothing to release: hooks live for one call."""


def _not_here(name: str) -> type[_NotHere]:
    return type(name, (_NotHere,), {"__doc__": "Not in this library.", "__module__": __name__})


FEM = _not_here("FEM")
SESS = _not_here("SESS")
FinerCAM = _not_here("FinerCAM")
FullGrad = _not_here("FullGrad")
GradCAMElementWise = _not_here("GradCAMElementWise")
HiResCAM = _not_here("HiResCAM")
KPCA_CAM = _not_here("KPCA_CAM")
RandomCAM = _not_here("RandomCAM")
RefineCAM = _not_here("RefineCAM")
SegEigenCAM = _not_here("SegEigenCAM")
ShapleyCAM = _not_here("ShapleyCAM")
DeepFeatureFactorization = _not_here("DeepFeatureFactorization")
