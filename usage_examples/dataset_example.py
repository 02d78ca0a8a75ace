"""A whole dataset of torchvision, as it comes from a DataLoader: `python usage_examples/dataset_example.py`.

`--image-path DIR` takes a folder with one folder of pictures for each class, as ImageFolder reads it; without it some
scenes of the bundled world are written to one. `python cam.py --image-path DIR` does the same from the shell.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

from pytorch_grad_cam import METHODS, explain_dataset
from pytorch_grad_cam.cli.networks import load_network
from pytorch_grad_cam.demo.scenes import make_scene
from pytorch_grad_cam.utils.image import show_cam_on_image
from pytorch_grad_cam.utils.image_files import encode_jpeg, open_picture

COLUMNS = 8


def write_scenes(folder: Path, count: int = 32) -> None:
    """Scenes with one object, each in the folder of its class."""
    for seed in range(count):
        scene = make_scene(seed, count=1)
        (of_class := folder / scene.objects[0].name).mkdir(exist_ok=True)
        Image.fromarray(scene.image).save(of_class / f"{seed:03}.png")


def main() -> None:
    """Explain the best class of each picture, and write the first of the heat maps, row by row, to dataset.jpg."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image-path", type=Path)
    parser.add_argument("--method", choices=METHODS, default="gradcam")
    parser.add_argument("--model", help="default: resnet50 for your pictures, demo for the scenes")
    parser.add_argument("--weights", help="a state dict, or 'random' (default: the pretrained ones)")
    parser.add_argument("--batch-size", type=int, default=16)
    options = parser.parse_args()
    network = load_network(options.model or ("resnet50" if options.image_path else "demo"), options.weights)

    with tempfile.TemporaryDirectory() as scenes:
        if options.image_path is None:
            write_scenes(Path(scenes))
        dataset = ImageFolder(
            options.image_path or scenes,
            transform=lambda picture: network.preset.to_input(picture)[0],
            loader=open_picture,  # upright, transparency over white
        )
        loader = DataLoader(dataset, batch_size=options.batch_size)
        cam = METHODS[options.method](network.model)

        # Results come one by one, and none is kept here: a million pictures need no more memory than a batch.
        # `targets="labels"` would explain the class that the dataset says; its classes must be those of the network.
        overlays = []
        right = 0
        for result in explain_dataset(cam, loader):
            (label,) = result.sample  # what the loader gave beside the picture
            right += network.classes[result.classes[0]] == dataset.classes[label]
            if len(overlays) < 4 * COLUMNS:
                seen = network.preset.to_rgb(dataset[result.index][0][None])
                overlays.append(show_cam_on_image(seen, result.map, use_rgb=True))

    overlays += [np.zeros_like(overlays[0])] * (-len(overlays) % COLUMNS)
    rows = [np.hstack(overlays[start : start + COLUMNS]) for start in range(0, len(overlays), COLUMNS)]
    Path("dataset.jpg").write_bytes(encode_jpeg(np.vstack(rows)))
    count = result.index + 1
    print(f"why {network.name} says what it says of {count} pictures, {right} of them as labelled: dataset.jpg")


if __name__ == "__main__":
    main()
