"""Explain a Swin of torchvision: `python usage_examples/swinT_example.py dog.jpg` writes output/swin.jpg."""

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision.models import Swin_T_Weights, swin_t

from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.demo.network import load_demo_network
from pytorch_grad_cam.utils.image import show_cam_on_image

path = sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[1] / "examples" / "both.png"
try:
    model = swin_t(weights=Swin_T_Weights.DEFAULT).eval()
    size = 224
except Exception as error:  # a hub fails in many ways
    print(f"using the bundled Swin: the weights cannot be downloaded ({type(error).__name__})")
    model = load_demo_network("swin")
    size = 128
try:
    image = Image.open(path).convert("RGB").resize((size, size))
except OSError as error:
    sys.exit(f"cannot read {path}: {error}")

pixels = np.asarray(image, dtype=np.float32) / 255
mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of both networks
images = torch.from_numpy((pixels - np.float32(mean)) / np.float32(std)).movedim(-1, 0).unsqueeze(0)
maps = GradCAM(model, [model.features[-1][0]])(images)  # (1, 224, 224): the input of the last block, (B, H, W, C)

Path("output").mkdir(exist_ok=True)
Image.fromarray(show_cam_on_image(pixels, maps[0], use_rgb=True)).save("output/swin.jpg")
print("wrote output/swin.jpg")
