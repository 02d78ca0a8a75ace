"""What no method can do without, written by hand for each network.

Gradient methods: the forward pass without gradients up to the last layer, then the rest of the network forward and back
to that layer. AblationCAM: the forward pass, and the rest of the network for a copy per channel. ScoreCAM: a forward
pass for a copy per channel.

The function of each network returns what the layer gives, and the rest of the network as a function of it.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.networks import NETWORKS

LayerTail = Callable[[Tensor], Tensor]


def resnet(model: Any, images: Tensor) -> tuple[Tensor, LayerTail]:
    x = model.maxpool(model.relu(model.bn1(model.conv1(images))))
    x = model.layer4(model.layer3(model.layer2(model.layer1(x))))
    return x, lambda x: model.fc(model.avgpool(x).flatten(1))


def pooled(model: Any, images: Tensor) -> tuple[Tensor, LayerTail]:
    """VGG and MobileNet."""
    return model.features(images), lambda x: model.classifier(model.avgpool(x).flatten(1))


def densenet(model: Any, images: Tensor) -> tuple[Tensor, LayerTail]:
    return model.features(images), lambda x: model.classifier(F.adaptive_avg_pool2d(F.relu(x), 1).flatten(1))


def convnext(model: Any, images: Tensor) -> tuple[Tensor, LayerTail]:
    return model.features(images), lambda x: model.classifier(model.avgpool(x))


def vit(model: Any, images: Tensor) -> tuple[Tensor, LayerTail]:
    """To `ln_1` of the last block."""
    *blocks, last = model.encoder.layers
    tokens = torch.cat([model.class_token.expand(len(images), -1, -1), model._process_input(images)], dim=1)
    tokens = tokens + model.encoder.pos_embedding
    for block in blocks:
        tokens = block(tokens)

    def tail(x: Tensor) -> Tensor:
        attended = last.self_attention(x, x, x, need_weights=False)[0] + tokens
        scores: Tensor = model.heads(model.encoder.ln(attended + last.mlp(last.ln_2(attended)))[:, 0])
        return scores

    return last.ln_1(tokens), tail


def swin(model: Any, images: Tensor) -> tuple[Tensor, LayerTail]:
    """To `norm1` of the last block."""
    *stages, (block, last) = model.features
    grid = images
    for stage in stages:
        grid = stage(grid)
    grid = block(grid)

    def tail(x: Tensor) -> Tensor:
        attended = grid + last.attn(x)
        scores: Tensor = model.head(
            model.flatten(model.avgpool(model.permute(model.norm(attended + last.mlp(last.norm2(attended))))))
        )
        return scores

    return last.norm1(grid), tail


FLOORS: dict[str, Callable[[Any, Tensor], tuple[Tensor, LayerTail]]] = {
    "resnet50": resnet,
    "vgg16": pooled,
    "densenet121": densenet,
    "mobilenet_v3_large": pooled,
    "convnext_tiny": convnext,
    "vit_b_16": vit,
    "swin_t": swin,
}


def floor_gradient(network: str, model: Any, images: Tensor, classes: Tensor) -> Tensor:
    """The gradient of the score of each image's class, at the output of the last layer."""
    with torch.no_grad():
        x, tail = FLOORS[network](model, images)
    x.requires_grad_()
    return torch.autograd.grad(tail(x).gather(1, classes[:, None]).sum(), x)[0]


def floor_ablation(network: str, model: Any, images: Tensor, at_once: int = 32) -> Tensor:
    """The scores of copies of one image, one for each channel of the last layer; nothing is silenced."""
    with torch.no_grad():
        x, tail = FLOORS[network](model, images)
        channels = x.shape[-1 if NETWORKS[network].transform else 1]
        return _in_portions(tail, x, channels, at_once)


def floor_score(network: str, model: Any, images: Tensor, channels: int, at_once: int = 8) -> Tensor:
    """The scores of copies of one image, one for each channel; nothing is masked."""
    with torch.no_grad():
        # The faster order for convolutions on a CPU.
        return _in_portions(model, images.contiguous(memory_format=torch.channels_last), channels, at_once)


def _in_portions(run: LayerTail, one: Tensor, copies: int, at_once: int) -> Tensor:
    several = one.repeat(at_once, *[1] * (one.ndim - 1))
    return torch.cat([run(several[: copies - start]) for start in range(0, copies, at_once)])


def telling_class(network: str, model: Any, image: Tensor) -> Tensor:
    """Of the best three classes of an image the one for which most speaks at the last layer.

    With random weights the maps of others are often blank, and this library then takes its time to say why.
    """
    with torch.no_grad():
        x, tail = FLOORS[network](model, image)
    x.requires_grad_()
    scores = tail(x)[0]
    classes = scores.topk(3).indices
    gradients = [torch.autograd.grad(scores[c], x, retain_graph=True)[0] for c in classes]
    return classes[torch.stack([(g * x.detach()).sum() for g in gradients]).argmax()].reshape(1)
