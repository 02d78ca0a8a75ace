"""Why a vision transformer names a picture: `python usage_examples/vit_example.py --image-path dog.jpg`.

`--model timm/deit_tiny_patch16_224`, or any other ViT of torchvision or timm; `--weights random` needs no download.
"""

import argparse
from pathlib import Path

from pytorch_grad_cam import METHODS
from pytorch_grad_cam.cli.networks import load_network
from pytorch_grad_cam.utils.image import show_cam_on_image
from pytorch_grad_cam.utils.image_files import encode_jpeg, open_picture

SCENE = Path(__file__).parents[1] / "examples" / "both.png"


def main() -> None:
    """Explain the best class of a picture, and write the heat map to vit.jpg."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image-path", default=SCENE)
    parser.add_argument("--method", choices=METHODS, default="gradcam")
    parser.add_argument("--model", default="vit_b_16")
    parser.add_argument("--weights", help="a state dict, or 'random' (default: the pretrained ones)")
    parser.add_argument("--aug-smooth", action="store_true")
    parser.add_argument("--eigen-smooth", action="store_true")
    options = parser.parse_args()

    network = load_network(options.model, options.weights)
    inputs = network.preset.to_input(open_picture(options.image_path))  # (1, 3, 224, 224)

    # The patch tokens are recognised, and of a ViT that reads its class token the layer is the last one whose patches
    # are still read: the first normalisation of the last block. The same, written out for a ViT of timm:
    #     METHODS[options.method](model, [model.blocks[-1].norm1], reshape_transform=tokens_to_grid(14, 14, prefix=1))
    cam = METHODS[options.method](network.model)
    heat = cam(inputs, aug_smooth=options.aug_smooth, eigen_smooth=options.eigen_smooth)[0]

    overlay = show_cam_on_image(network.preset.to_rgb(inputs), heat, use_rgb=True)
    Path("vit.jpg").write_bytes(encode_jpeg(overlay))
    print(f"why {network.name} says {network.classes[int(cam.outputs.argmax())]!r}: vit.jpg")


if __name__ == "__main__":
    main()
