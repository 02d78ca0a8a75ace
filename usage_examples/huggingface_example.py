"""Explain a ViT of transformers: `python usage_examples/huggingface_example.py dog.jpg`.

It writes output/huggingface.jpg.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.demo.network import load_demo_network, to_input
from pytorch_grad_cam.utils.image import show_cam_on_image

path = sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[1] / "examples" / "both.png"
try:
    image = Image.open(path).convert("RGB")
except OSError as error:
    sys.exit(f"cannot read {path}: {error}")
try:
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    processor = AutoImageProcessor.from_pretrained("google/vit-base-patch16-224")
    model = AutoModelForImageClassification.from_pretrained("google/vit-base-patch16-224")
    inputs = processor(images=image, return_tensors="pt")  # a dict with pixel_values (1, 3, 224, 224)
except Exception as error:  # downloads fail in many ways
    print(f"using the bundled ViT: transformers or its weights cannot be had ({type(error).__name__})")
    model, inputs = load_demo_network("vit"), to_input(np.array(image.resize((128, 128))))

maps = GradCAM(model)(inputs)  # (1, H, W), for the best class: layer, tokens and logits are recognized
height, width = maps.shape[1:]
pixels = np.asarray(image.resize((width, height)), dtype=np.float32) / 255

Path("output").mkdir(exist_ok=True)
Image.fromarray(show_cam_on_image(pixels, maps[0], use_rgb=True)).save("output/huggingface.jpg")
print("wrote output/huggingface.jpg")
