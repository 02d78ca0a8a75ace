"""What a user gets by importing, seen from a fresh process."""

import subprocess
import sys

import pytest

import pytorch_grad_cam
from pytorch_grad_cam import METHODS, BaseCAM

pytestmark = pytest.mark.e2e


def fresh(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_importing_loads_no_heavy_package():
    heavy = ["cv2", "ttach", "torchvision", "matplotlib", "tqdm", "timm", "PIL", "scipy", "pytorch_grad_cam.demo"]
    # What torch itself loads on some machines is not ours.
    code = "import torch, sys; before = set(sys.modules); import pytorch_grad_cam; "
    assert fresh(code + f"print([m for m in {heavy} if m in sys.modules and m not in before])") == "[]"


@pytest.mark.parametrize(
    "module",
    ["utils.image", "utils.model_targets", "utils.reshape_transforms", "utils.find_layers", "utils.svd_on_activations"],
)
def test_utilities_load_no_heavy_package(module):
    code = f"import sys, pytorch_grad_cam.{module}; "
    assert fresh(code + "print([m for m in ('cv2', 'ttach', 'torchvision') if m in sys.modules])") == "[]"


def test_each_method_stands_in_the_module_that_bears_its_name():
    for method in METHODS.values():
        assert issubclass(method, BaseCAM)
        assert getattr(pytorch_grad_cam, method.__name__) is method
        assert method.__name__ in pytorch_grad_cam.__all__
        assert method.__module__.removeprefix("pytorch_grad_cam.").replace("_", "") == method.__name__.lower()


def test_what_the_well_known_package_has_more_can_be_imported_and_says_so_when_used():
    from pytorch_grad_cam import (  # noqa: F401
        AblationCAM,
        EigenCAM,
        FullGrad,
        GradCAM,
        GradCAMPlusPlus,
        HiResCAM,
        ScoreCAM,
        XGradCAM,
    )

    with pytest.raises(NotImplementedError, match="FullGrad of grad-cam 1.x is not implemented yet; .*METHODS"):
        FullGrad(model=None, target_layers=[])


def test_what_takes_the_place_of_what_is_not_here():
    from pytorch_grad_cam import DeepFeatureFactorization, run_dff_on_image
    from pytorch_grad_cam.activations_and_gradients import ActivationsAndGradients
    from pytorch_grad_cam.utils.image import show_factorization_on_image

    assert pytorch_grad_cam.ActivationsAndGradients is ActivationsAndGradients
    for factorize in (DeepFeatureFactorization, run_dff_on_image):
        with pytest.raises(NotImplementedError, match=rf"{factorize.__name__} .* activations to factorize"):
            factorize(model=None, target_layer=None)
    with pytest.raises(NotImplementedError, match="show_factorization_on_image .* show_cam_on_image"):
        show_factorization_on_image(None, None)


def test_imports_of_the_well_known_tutorials():
    """Each script fails as a whole where one name is missing; `pytest -m peer` goes over all names."""
    from pytorch_grad_cam import DeepFeatureFactorization, GradCAM, run_dff_on_image  # noqa: F401
    from pytorch_grad_cam.ablation_layer import AblationLayerFasterRCNN  # noqa: F401
    from pytorch_grad_cam.metrics.cam_mult_image import CamMultImageConfidenceChange  # noqa: F401
    from pytorch_grad_cam.metrics.road import ROADCombined, ROADMostRelevantFirstAverage  # noqa: F401
    from pytorch_grad_cam.sobel_cam import sobel_cam  # noqa: F401
    from pytorch_grad_cam.utils import deprocess_image, get_2d_projection  # noqa: F401
    from pytorch_grad_cam.utils.find_layers import find_layer_types_recursive  # noqa: F401
    from pytorch_grad_cam.utils.image import (  # noqa: F401
        create_labels_legend,
        scale_accross_batch_and_channels,
        scale_cam_image,
        show_cam_on_image,
        show_factorization_on_image,
    )
    from pytorch_grad_cam.utils.model_targets import FasterRCNNBoxScoreTarget  # noqa: F401
    from pytorch_grad_cam.utils.reshape_transforms import fasterrcnn_reshape_transform  # noqa: F401
    from pytorch_grad_cam.utils.svd_on_activations import get_2d_projection  # noqa: F401, F811
