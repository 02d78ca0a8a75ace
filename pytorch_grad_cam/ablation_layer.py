"""Compatibility with grad-cam 1.x: AblationCAM accepts these names and does not need them."""


class AblationLayer:
    """Does nothing: AblationCAM finds the values of a channel in the output of any layer."""


AblationLayerVit = AblationLayerFasterRCNN = AblationLayer
