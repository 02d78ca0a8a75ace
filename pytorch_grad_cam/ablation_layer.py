"""Names that code written for the well-known package imports; AblationCAM takes them and does not need them."""


class AblationLayer:
    """Says nothing: AblationCAM finds by itself which values of a layer's output belong to a channel."""


AblationLayerVit = AblationLayerFasterRCNN = AblationLayer
