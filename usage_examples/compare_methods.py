"""Every method side by side, for both classes of the bundled scene: `python usage_examples/compare_methods.py`.

Writes methods.png: a row for each class, the picture first, then the methods in the order that is printed.
"""

import cv2
import numpy as np

from pytorch_grad_cam import METHODS
from pytorch_grad_cam.demo.network import load_network, to_input
from pytorch_grad_cam.demo.scenes import both
from pytorch_grad_cam.utils.image import show_cam_on_image


def main() -> None:
    """Explain, print what was done and write the picture."""
    scene, model = both(), load_network()
    classes = [one.label for one in scene.objects]
    columns = [np.vstack([scene.image] * len(classes))]
    for method in METHODS.values():
        with method(model) as cam:
            maps = cam(to_input(scene.image), [classes])[0]
        columns.append(np.vstack([show_cam_on_image(scene.image / 255, one, use_rgb=True) for one in maps]))
        print(method.__name__)
    cv2.imwrite("methods.png", cv2.cvtColor(np.hstack(columns), cv2.COLOR_RGB2BGR))


if __name__ == "__main__":
    main()
