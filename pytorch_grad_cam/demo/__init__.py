"""Demo data with ground truth: scenes whose objects have masks, and small networks trained to classify them.

A map of a class can be compared with the mask of its object. `scenes` draws the images with NumPy, `network` builds and
loads the networks, `evaluate` measures them. `tools/train_demo.py` in the repository trains the weights.
"""
