"""Names that code written for the well-known package imports; AblationCAM takes them and does not need them."""


class AblationLayer:
    """How the well-known package silences channels of a CNN; here AblationCAM finds them in any layer's output."""


class AblationLayerVit(AblationLayer):
    """The same for tokens."""


class AblationLayerFasterRCNN(AblationLayer):
    """The same for a feature pyramid."""
