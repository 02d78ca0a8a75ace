"""Explain each image of a DataLoader: `python usage_examples/dataset_example.py` writes output/dataset.jpg.

One row of the image for each method, from the bundled network and its scenes.
"""

from pathlib import Path

import numpy as np
from PIL import Image
from torch.utils.data import DataLoader

from pytorch_grad_cam import GradCAM, LayerCAM, explain_dataset
from pytorch_grad_cam.demo.network import load_demo_network, to_input
from pytorch_grad_cam.demo.scenes import make_scene
from pytorch_grad_cam.utils.image import show_cam_on_image

model = load_demo_network()  # any network, and any data set of (image, label)
scenes = [make_scene(seed) for seed in range(6)]
loader = DataLoader([(to_input(scene.image)[0], scene.objects[0].label) for scene in scenes], batch_size=3)

overlays = {"GradCAM": [], "LayerCAM": []}
for result in explain_dataset([GradCAM(model), LayerCAM(model)], loader, targets="labels"):
    print(f"image {result.index}, {result.method}: class {result.classes[0]}, score {result.scores[0]:.2f}")
    overlays[result.method].append(show_cam_on_image(scenes[result.index].image / 255, result.map, use_rgb=True))

Path("output").mkdir(exist_ok=True)
Image.fromarray(np.vstack([np.hstack(row) for row in overlays.values()])).save("output/dataset.jpg")
print("wrote output/dataset.jpg")
