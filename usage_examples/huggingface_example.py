"""Any image classifier of Hugging Face: `python usage_examples/huggingface_example.py --image-path dog.jpg`.

`--model facebook/deit-tiny-patch16-224` is another one; `--weights random` builds a small ViT and needs no download.
Needs `pip install transformers`.
"""

import argparse
from pathlib import Path

import torch
from transformers import AutoImageProcessor, AutoModelForImageClassification, ViTConfig, ViTImageProcessor

from pytorch_grad_cam import METHODS
from pytorch_grad_cam.utils.find_layers import layer_name
from pytorch_grad_cam.utils.image import show_cam_on_image
from pytorch_grad_cam.utils.image_files import encode_jpeg, open_picture

SCENE = Path(__file__).parents[1] / "examples" / "both.png"


def main() -> None:
    """Explain the best class of a picture, and write the heat map to huggingface.jpg."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image-path", default=SCENE)
    parser.add_argument("--method", choices=METHODS, default="gradcam")
    parser.add_argument("--model", default="google/vit-base-patch16-224")
    parser.add_argument("--weights", choices=["pretrained", "random"], default="pretrained")
    options = parser.parse_args()

    if options.weights == "random":
        torch.manual_seed(0)
        config = ViTConfig(hidden_size=96, num_hidden_layers=4, num_attention_heads=4, intermediate_size=192)
        processor, model = ViTImageProcessor(), AutoModelForImageClassification.from_config(config)
    else:
        processor = AutoImageProcessor.from_pretrained(options.model)
        model = AutoModelForImageClassification.from_pretrained(options.model)

    inputs = processor(images=open_picture(options.image_path), return_tensors="pt")  # has pixel_values

    # The inputs go to the model by name, the logits are found in what it returns, and the layer and the layout of its
    # tokens by themselves.
    cam = METHODS[options.method](model)
    heat = cam(inputs)[0]

    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (processor.image_mean, processor.image_std))
    seen = (inputs["pixel_values"][0] * std + mean).clamp(0, 1).movedim(0, -1).numpy()
    overlay = show_cam_on_image(seen, heat, use_rgb=True)
    Path("huggingface.jpg").write_bytes(encode_jpeg(overlay))
    label = model.config.id2label[int(cam.outputs.logits.argmax())]
    print(f"why {type(model).__name__} says {label!r}, at {layer_name(model, cam.target_layers[0])}: huggingface.jpg")


if __name__ == "__main__":
    main()
