"""Explain a ViT of timm: `python usage_examples/vit_example.py dog.jpg` writes output/vit.jpg."""

import sys
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image

from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.demo.network import load_demo_network
from pytorch_grad_cam.utils.image import show_cam_on_image

path = sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[1] / "examples" / "both.png"
try:
    model = timm.create_model("vit_base_patch16_224", pretrained=True).eval()
    size, layer, mean, std = 224, model.blocks[-1].norm1, 0.5, 0.5
except Exception as error:  # a hub fails in many ways
    print(f"using the bundled ViT: the weights cannot be downloaded ({type(error).__name__})")
    model = load_demo_network("vit")
    size, layer = 128, model.encoder.layers[-1].ln_1
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
try:
    image = Image.open(path).convert("RGB").resize((size, size))
except OSError as error:
    sys.exit(f"cannot read {path}: {error}")

pixels = np.asarray(image, dtype=np.float32) / 255
images = torch.from_numpy((pixels - np.float32(mean)) / np.float32(std)).movedim(-1, 0).unsqueeze(0)
maps = GradCAM(model, [layer])(images)  # (1, 224, 224), of the best class; the tokens are recognized

Path("output").mkdir(exist_ok=True)
Image.fromarray(show_cam_on_image(pixels, maps[0], use_rgb=True)).save("output/vit.jpg")
print("wrote output/vit.jpg")
