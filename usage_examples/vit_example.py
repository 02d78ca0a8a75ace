"""Explain a ViT of timm: `python usage_examples/vit_example.py dog.jpg` writes output/vit.jpg."""

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.demo.network import load_demo_network
from pytorch_grad_cam.utils.image import show_cam_on_image

path = sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[1] / "examples" / "both.png"
try:
    image = Image.open(path).convert("RGB")
except OSError as error:
    sys.exit(f"cannot read {path}: {error}")
try:
    import timm

    model = timm.create_model("vit_base_patch16_224", pretrained=True).eval()
    size, layer, mean, std = 224, model.blocks[-1].norm1, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
except Exception as error:  # downloads fail in many ways
    print(f"using the bundled ViT: timm or its weights cannot be had ({type(error).__name__})")
    model = load_demo_network("vit")
    size, layer, mean, std = 128, model.encoder.layers[-1].ln_1, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

pixels = np.asarray(image.resize((size, size)), dtype=np.float32) / 255
normalized = (torch.from_numpy(pixels) - torch.tensor(mean)) / torch.tensor(std)
images = normalized.permute(2, 0, 1).unsqueeze(0)  # (1, 3, size, size)
maps = GradCAM(model, [layer])(images)  # (1, size, size), for the best class; the tokens are recognized

Path("output").mkdir(exist_ok=True)
Image.fromarray(show_cam_on_image(pixels, maps[0], use_rgb=True)).save("output/vit.jpg")
print("wrote output/vit.jpg")
