"""Image, target, layer and layout utilities."""
