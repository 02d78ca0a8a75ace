"""Why a Swin transformer names a picture: `python usage_examples/swinT_example.py --image-path dog.jpg`.

`--model timm/swin_tiny_patch4_window7_224`, or any other Swin of torchvision or timm; `--weights random` needs no
download.
"""

import argparse
from pathlib import Path

from pytorch_grad_cam import METHODS
from pytorch_grad_cam.cli.networks import load_network
from pytorch_grad_cam.utils.find_layers import layer_name
from pytorch_grad_cam.utils.image import show_cam_on_image
from pytorch_grad_cam.utils.image_files import encode_jpeg, open_picture

SCENE = Path(__file__).parents[1] / "examples" / "both.png"


def main() -> None:
    """Explain the best class of a picture, and write the heat map to swin.jpg."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image-path", default=SCENE)
    parser.add_argument("--method", choices=METHODS, default="gradcam")
    parser.add_argument("--model", default="swin_t")
    parser.add_argument("--weights", help="a state dict, or 'random' (default: the pretrained ones)")
    parser.add_argument("--target-layer", help="such as features.-1.-1.norm1 (default: chosen; its name is printed)")
    parser.add_argument("--aug-smooth", action="store_true")
    parser.add_argument("--eigen-smooth", action="store_true")
    options = parser.parse_args()

    network = load_network(options.model, options.weights)
    inputs = network.preset.to_input(open_picture(options.image_path))  # (1, 3, 224, 224)

    # A Swin has no class token, and its layers return (B, 7, 7, C) or (B, 49, C), by version: both are recognised, also
    # of inputs that are not square. Written out it would be reshape_transform=swinT_reshape_transform.
    cam = METHODS[options.method](network.model, options.target_layer)
    heat = cam(inputs, aug_smooth=options.aug_smooth, eigen_smooth=options.eigen_smooth)[0]

    overlay = show_cam_on_image(network.preset.to_rgb(inputs), heat, use_rgb=True)
    Path("swin.jpg").write_bytes(encode_jpeg(overlay))
    layer = layer_name(network.model, cam.target_layers[0])
    print(f"why {network.name} says {network.classes[int(cam.outputs.argmax())]!r}, at {layer}: swin.jpg")


if __name__ == "__main__":
    main()
