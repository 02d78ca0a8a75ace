"""Explain a classifier of Hugging Face: `python usage_examples/huggingface_example.py dog.jpg`.

It writes output/huggingface.jpg.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageClassification

from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.demo.network import load_demo_network, to_input
from pytorch_grad_cam.utils.image import show_cam_on_image

path = sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[1] / "examples" / "both.png"
try:
    image = Image.open(path).convert("RGB")
except OSError as error:
    sys.exit(f"cannot read {path}: {error}")
try:
    processor = AutoImageProcessor.from_pretrained("google/vit-base-patch16-224")
    model = AutoModelForImageClassification.from_pretrained("google/vit-base-patch16-224")
    inputs = processor(images=image, return_tensors="pt")  # a dict with pixel_values
except Exception as error:  # a hub fails in many ways
    print(f"using the bundled ViT: the weights cannot be downloaded ({type(error).__name__})")
    model, inputs = load_demo_network("vit"), to_input(np.array(image.resize((128, 128))))

maps = GradCAM(model)(inputs)  # (1, H, W): the layer, its tokens and the logits are found
pixels = np.asarray(image.resize(maps.shape[:0:-1]), dtype=np.float32) / 255

Path("output").mkdir(exist_ok=True)
Image.fromarray(show_cam_on_image(pixels, maps[0], use_rgb=True)).save("output/huggingface.jpg")
print("wrote output/huggingface.jpg")
