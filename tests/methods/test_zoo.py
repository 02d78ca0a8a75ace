"""Any network without configuration: of each family one, given nothing but the model and pictures.

That the layout is right is proved: where a corner of the input changes, that corner of the activations changes most.
`pytest -m zoo` takes all families and writes docs/zoo.md; the default run takes some small ones.
"""

from pathlib import Path

import pytest
import torch

from pytorch_grad_cam import GradCAM, list_layers
from pytorch_grad_cam._engine.layers import layer_name
from pytorch_grad_cam._engine.layouts import find_layout, first_tensor
from tests.helpers import zoo

DOCUMENT = Path(__file__).parents[2] / "docs" / "zoo.md"
FAMILIES = [
    *(("torchvision", family, name) for family, name in zoo.TORCHVISION.items()),
    *(("timm", family, name) for family, name in zoo.TIMM.items()),
    *(("transformers", family, family) for family in zoo.TRANSFORMERS),
]
SMALL = [
    *(("torchvision", name) for name in ("squeezenet1_1", "mobilenet_v3_small")),
    *(("timm", name) for name in ("test_vit", "test_convnext", "test_mambaout", "test_coatnet", "test_vit_relpos")),
    *(("timm", name) for name in ("deit_tiny_patch16_224", "levit_128s", "xcit_nano_12_p8_224")),
    *(("transformers", name) for name in ("Swin", "DINOv2 with registers", "SegFormer", "CLIP vision")),
]


@pytest.mark.parametrize(("library", "name"), SMALL)
def test_some_small_networks(library, name):
    model, evidence = explain_and_check(library, name)
    given = {"pixel_values" if library == "transformers" else "input_tensor": evidence.forward.inputs.images}
    assert list_layers(model, **given).best.layer is evidence.layer


@pytest.fixture(scope="module")
def rows():
    """What was found out about each family; once it is known of all, the document is written."""
    found = {}
    yield found
    if len(found) == len(FAMILIES):
        DOCUMENT.parent.mkdir(exist_ok=True)
        DOCUMENT.write_text(document([found[family] for family in FAMILIES]), "utf-8")


@pytest.mark.zoo
@pytest.mark.parametrize(("library", "family", "name"), FAMILIES)
def test_every_family(library, family, name, rows):
    model, evidence = explain_and_check(library, name)
    layout = find_layout(first_tensor(evidence.output), evidence.forward.inputs.images, model, evidence.layer)
    size, grid = ("{} x {}".format(*shape) for shape in (evidence.forward.inputs.images.shape[2:], layout.grid))
    cells = library, family, name, size, f"`{layer_name(model, evidence.layer)}`", str(layout), grid
    rows[library, family, name] = f"| {' | '.join(cells)} |"


@pytest.mark.zoo
def test_no_family_is_missing():
    import timm
    from torchvision import models

    if timm.__version__ == "1.0.31":
        assert set(timm.list_modules()) == zoo.TIMM.keys() | zoo.TOO_LARGE.keys()
    modules = {models.get_model_builder(name).__module__ for name in models.list_models(models)}
    assert modules == {models.get_model_builder(name).__module__ for name in zoo.TORCHVISION.values()}


def explain_and_check(library, name):
    """The model and the evidence of the layer that was taken."""
    # With random weights a corner may be lost in the mixture, or all of a picture speak against every class; but hardly
    # three times.
    for seed in range(3):
        cam, pictures = cam_and_pictures(library, name, seed)
        explanation, by_corner = explain(cam, pictures, library)
        maps = explanation.maps.flatten(2)
        constant = bool((maps.amax(2) == maps.amin(2)).any())
        if not constant and [max(range(4), key=row.__getitem__) for row in by_corner] == [0, 1, 2, 3]:
            return cam.model, explanation.evidence[0]
    raise AssertionError(f"constant maps: {constant}; what changed most for each corner that did: {by_corner}")


def explain(cam, pictures, library):
    """The explanation, and for each corner that changed how much each corner of the activations moved."""
    given = {"pixel_values": pictures} if library == "transformers" else {"input_tensor": pictures}
    explanation = cam.explain(**given)
    maps, activations = explanation.maps[:, 0], explanation.evidence[0].activations[:, 0]
    assert maps.shape == (5, *pictures.shape[2:])
    assert maps.isfinite().all()
    changes = (activations[1:] - activations[0]).norm(dim=1)
    by_corner = [[float(change[part].mean()) for part in corners(*change.shape)] for change in changes]
    return explanation, by_corner


def cam_and_pictures(library, name, seed):
    """A CAM to which nothing is given, and a picture and four others, each with another corner.

    The picture is not square where the network allows it.
    """
    side = zoo.side(library, name)
    for size in [(side, side + 64), (side, 2 * side), None]:
        torch.manual_seed(seed)
        height, width = size or (side, side)
        several = torch.randn(4, 3, height, width)
        try:
            model = zoo.build(library, name, size, seed)
            # Small changes, as large ones spread to everywhere in a deep network with random weights.
            pictures = several[:1].repeat(5, 1, 1, 1)
            for picture, (rows, columns) in zip(pictures[1:], corners(height, width), strict=True):
                picture[:, rows, columns] += 0.01 * torch.randn(3, height // 4, width // 4)
            zoo.measure_statistics(model, several)
        except (RuntimeError, ValueError, AssertionError, TypeError):
            if size is None:
                raise
        else:
            return GradCAM(model), pictures
    raise AssertionError("unreachable")


def corners(height, width):
    """Rows and columns of the four corners, a quarter of each side."""
    h, w = max(height // 4, 1), max(width // 4, 1)
    return [(rows, columns) for rows in (slice(h), slice(-h, None)) for columns in (slice(w), slice(-w, None))]


def document(rows):
    import timm
    import torchvision
    import transformers

    too_large = "\n".join(f"- `timm` {family}: {reason}" for family, reason in zoo.TOO_LARGE.items())
    return f"""# Any network, without configuration

Written by `pytest -m zoo`, with torch {torch.__version__.split("+")[0]}, torchvision \
{torchvision.__version__.split("+")[0]}, timm {timm.__version__} and transformers {transformers.__version__}.

`GradCAM(model)(x)`, with nothing else given, on {len(rows)} families: of each the smallest network of at most 200
million parameters, with seeded random weights. Each found a layer that keeps positions, and a finite map of the input's
size that is not constant. That the layout is right was proved: where a corner of the input was changed, that corner of
the activations changed most, for all four corners, on an input that is not square where the network takes one.

| library | family | network | input | layer | layout | grid |
|---|---|---|---|---|---|---|
{chr(10).join(rows)}

Left out:

{too_large}
"""
