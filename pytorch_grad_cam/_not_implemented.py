"""Names that code written for `grad-cam` 1.x imports beside those it uses; to use one is an error that says so."""

from typing import Any


class _NotHere:
    instead = ""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        from pytorch_grad_cam import METHODS

        instead = self.instead or f"it has {', '.join(method.__name__ for method in METHODS.values())}"
        raise NotImplementedError(f"{type(self).__name__} of grad-cam 1.x is not in this library; {instead}")


class NoHooks:
    """All there is of `cam.activations_and_grads` of grad-cam 1.x."""

    def release(self) -> None:
        """Nothing to release: hooks live for one call."""


def _not_here(name: str, instead: str = "") -> type[_NotHere]:
    return type(name, (_NotHere,), {"__doc__": "Not in this library.", "__module__": __name__, "instead": instead})


ActivationsAndGradients = _not_here(
    "ActivationsAndGradients",
    "`explain` gives activations and gradients: GradCAM(model, target_layers).explain(images, targets).evidence",
)
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

_FACTORISE = "EigenCAM(model, target_layers).explain(images).evidence holds activations to factorise"
DeepFeatureFactorization = _not_here("DeepFeatureFactorization", _FACTORISE)
run_dff_on_image = _not_here("run_dff_on_image", _FACTORISE)
show_factorization_on_image = _not_here("show_factorization_on_image", "show_cam_on_image shows one map")
create_labels_legend = _not_here("create_labels_legend", "show_cam_on_image shows one map")
