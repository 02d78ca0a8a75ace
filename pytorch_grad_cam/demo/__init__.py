"""A small world with known truth: scenes whose objects have masks, and small networks that learned to name them.

So a map can be judged, not only admired: it should light up the mask of the class that was asked for. `scenes` draws
the pictures with NumPy, `network` builds and loads the networks, `train` makes their weights, `evaluate` measures them.
"""
