"""Names of grad-cam 1.x that are not implemented yet: importing them works, calling one raises an error."""

from typing import Any


class _NotHere:
    instead = "pytorch_grad_cam.METHODS lists the methods there are"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError(f"{type(self).__name__} of grad-cam 1.x is not implemented yet; {self.instead}")


def _not_here(name: str, instead: str = _NotHere.instead) -> type[_NotHere]:
    return type(name, (_NotHere,), {"__doc__": "Not implemented yet.", "__module__": __name__, "instead": instead})


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

_FACTORIZE = "EigenCAM(model, target_layers).explain(images).evidence holds activations to factorize"
DeepFeatureFactorization = _not_here("DeepFeatureFactorization", _FACTORIZE)
run_dff_on_image = _not_here("run_dff_on_image", _FACTORIZE)
show_factorization_on_image = _not_here("show_factorization_on_image", "show_cam_on_image shows one map")
create_labels_legend = _not_here("create_labels_legend", "show_cam_on_image shows one map")

dff = _not_here("dff", _FACTORIZE)
sliding_window = _not_here("sliding_window")
window_starts = _not_here("window_starts")
FinerWeightedTarget = _not_here("FinerWeightedTarget")
get_2d_projection_kernel = _not_here("get_2d_projection_kernel", "get_2d_projection has no kernel")
get_2d_projection_with_sign_correction = _not_here(
    "get_2d_projection_with_sign_correction", "the sign of get_2d_projection is fixed"
)
