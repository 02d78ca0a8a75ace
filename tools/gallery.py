"""Make the images of the README again, from the bundled networks: `python tools/gallery.py`.

Each function makes one image, and is a starting point for your own.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pytorch_grad_cam import METHODS, GradCAM, GuidedBackpropReLUModel, LayerCAM
from pytorch_grad_cam.demo.network import NETWORKS, load_demo_network, to_input
from pytorch_grad_cam.demo.scenes import example_scene
from pytorch_grad_cam.utils.image import deprocess_image, show_cam_on_image
from pytorch_grad_cam.utils.image_files import encode_jpeg, write_whole

SCENE = example_scene()
IMAGES = to_input(SCENE.image)
CLASSES = [item.label for item in SCENE.objects]
NAMES = [item.name for item in SCENE.objects]
SIDE, MARGIN, FONT = 180, 26, ImageFont.load_default(15)


def main():
    """Write the images into a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output-dir", type=Path, default=Path(__file__).parents[1] / "examples")
    folder = parser.parse_args().output_dir
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"cannot write to {folder}: {error.strerror}")
    for make_image in (methods, networks, smoothing, guided, layers):
        path = folder / f"{make_image.__name__}.jpg"
        write_whole({path: encode_jpeg(make_image())})
        print(f"{path}: {make_image.__doc__}")


def methods():
    """Explain both classes of the scene by every method."""
    model = load_demo_network()
    maps = [method(model)(IMAGES, [CLASSES])[0] for method in METHODS.values()]
    return table([method.__name__ for method in METHODS.values()], NAMES, by_class(maps))


def networks():
    """Explain a CNN, a ViT and a Swin by Grad-CAM, without a given layer or layout."""
    maps = [GradCAM(load_demo_network(name))(IMAGES, [CLASSES])[0] for name in NETWORKS]
    titles = {"shufflenet": "CNN (ShuffleNet)", "vit": "ViT", "swin": "Swin"}
    return table([titles[name] for name in NETWORKS], NAMES, by_class(maps))


def smoothing():
    """Smooth Grad-CAM of the ViT in two ways, alone and together."""
    cam = GradCAM(load_demo_network("vit"))
    ways = {
        "as it is": {},
        "aug_smooth": {"aug_smooth": True},
        "eigen_smooth": {"eigen_smooth": True},
        "both": {"aug_smooth": True, "eigen_smooth": True},
    }
    maps = [cam(IMAGES, [CLASSES], **way)[0] for way in ways.values()]
    return table(ways, NAMES, by_class(maps))


def guided():
    """Show guided backpropagation, Grad-CAM and their product."""
    model = load_demo_network()
    rows = []
    for label, heat in zip(CLASSES, GradCAM(model)(IMAGES, [CLASSES])[0], strict=True):
        gradients = GuidedBackpropReLUModel(model)(IMAGES, label)
        rows.append([deprocess_image(gradients), overlay(heat), deprocess_image(heat[..., None] * gradients)])
    return table(["guided backpropagation", "Grad-CAM", "guided Grad-CAM"], NAMES, rows)


def layers():
    """Explain the first class by Grad-CAM and LayerCAM, from early to late layers."""
    model, names = load_demo_network(), ["stage2", "stage3", "stage4", "conv5"]
    rows = [[overlay(method(model, name)(IMAGES, CLASSES[0])[0]) for name in names] for method in (GradCAM, LayerCAM)]
    return table(names, ["Grad-CAM", "LayerCAM"], rows)


def overlay(heat):
    """Lay a map over the scene."""
    return show_cam_on_image(SCENE.image / 255, heat, use_rgb=True)


def by_class(maps):
    """Turn maps by column and class into rows of overlays, one row for each class."""
    return [[overlay(heat) for heat in row] for row in zip(*maps, strict=True)]


def table(titles, names, rows):
    """Draw rows of images, each after the scene, with titles above and the name of the row at its left."""
    titles, rows = ["", *titles], [[SCENE.image, *row] for row in rows]
    sheet = Image.new("RGB", (MARGIN + SIDE * len(titles), MARGIN + SIDE * len(rows)), "white")
    draw = ImageDraw.Draw(sheet)
    for column, title in enumerate(titles):
        draw.text((MARGIN + SIDE * (column + 0.5), MARGIN / 2), title, "black", FONT, anchor="mm")
    for number, (name, row) in enumerate(zip(names, rows, strict=True)):
        side = Image.new("RGB", (SIDE, MARGIN), "white")
        ImageDraw.Draw(side).text((SIDE / 2, MARGIN / 2), name, "black", FONT, anchor="mm")
        sheet.paste(side.rotate(90, expand=True), (0, MARGIN + SIDE * number))
        for column, pixels in enumerate(row):
            panel = Image.fromarray(np.asarray(pixels, np.uint8)).resize((SIDE - 4, SIDE - 4), Image.Resampling.BICUBIC)
            sheet.paste(panel, (MARGIN + SIDE * column + 2, MARGIN + SIDE * number + 2))
    return np.asarray(sheet)


if __name__ == "__main__":
    main()
