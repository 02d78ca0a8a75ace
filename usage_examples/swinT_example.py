"""Explain a Swin of torchvision: `python usage_examples/swinT_example.py dog.jpg` writes output/swin.jpg."""

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision.models import swin_t

from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.demo.network import load_demo_network
from pytorch_grad_cam.utils.image import show_cam_on_image

path = sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[1] / "examples" / "both.png"
try:
    image = Image.open(path).convert("RGB")
except OSError as error:
    sys.exit(f"cannot read {path}: {error}")
try:
    model, size = swin_t(weights="DEFAULT").eval(), 224
except Exception as error:  # downloads fail in many ways
    print(f"using the bundled Swin: the weights cannot be downloaded ({type(error).__name__})")
    model, size = load_demo_network("swin"), 128

pixels = np.asarray(image.resize((size, size)), dtype=np.float32) / 255
mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of both networks
normalized = (torch.from_numpy(pixels) - torch.tensor(mean)) / torch.tensor(std)
images = normalized.permute(2, 0, 1).unsqueeze(0)  # (1, 3, size, size)
layer = model.features[-1][-2]  # its output (B, H, W, C) is the input of the last block
maps = GradCAM(model, [layer])(images)  # (1, size, size), for the best class

Path("output").mkdir(exist_ok=True)
Image.fromarray(show_cam_on_image(pixels, maps[0], use_rgb=True)).save("output/swin.jpg")
print("wrote output/swin.jpg")
