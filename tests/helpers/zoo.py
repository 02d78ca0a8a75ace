"""A network with random weights of each family that torchvision, timm and transformers know."""

import math

import torch
from torch import nn

TORCHVISION = {
    "AlexNet": "alexnet",
    "ConvNeXt": "convnext_tiny",
    "DenseNet": "densenet121",
    "EfficientNet": "efficientnet_b0",
    "EfficientNetV2": "efficientnet_v2_s",
    "GoogLeNet": "googlenet",
    "Inception v3": "inception_v3",
    "MaxViT": "maxvit_t",
    "MNASNet": "mnasnet0_5",
    "MobileNetV2": "mobilenet_v2",
    "MobileNetV3": "mobilenet_v3_small",
    "RegNet": "regnet_y_400mf",
    "ResNet": "resnet18",
    "ResNeXt": "resnext50_32x4d",
    "ShuffleNetV2": "shufflenet_v2_x0_5",
    "SqueezeNet": "squeezenet1_1",
    "Swin": "swin_t",
    "Swin v2": "swin_v2_t",
    "VGG": "vgg11",
    "ViT": "vit_b_32",
    "Wide ResNet": "wide_resnet50_2",
}

# The smallest member of each module of timm 1.0.31.
TOO_LARGE = {"deepseek_vit": "its smallest member has 412 million parameters"}
TIMM = {
    "beit": "beit_base_patch16_224",
    "byoanet": "halonet_h1",
    "byobnet": "test_byobnet",
    "cait": "cait_xxs24_224",
    "coat": "coat_tiny",
    "convit": "convit_tiny",
    "convmixer": "convmixer_768_32",
    "convnext": "test_convnext",
    "cpubone": "cpubone_nano",
    "crossvit": "crossvit_tiny_240",
    "csatv2": "csatv2",
    "cspnet": "cs3darknet_focus_s",
    "cspnext": "cspnext_tiny",
    "davit": "davit_tiny",
    "deit": "deit_tiny_patch16_224",
    "densenet": "densenet121",
    "dla": "dla46x_c",
    "dpn": "dpn48b",
    "edgenext": "edgenext_xx_small",
    "efficientformer": "efficientformer_l1",
    "efficientformer_v2": "efficientformerv2_s0",
    "efficientnet": "test_efficientnet",
    "efficientvim": "efficientvim_m1",
    "efficientvit_mit": "efficientvit_b0",
    "efficientvit_msra": "efficientvit_m0",
    "eva": "vit_tiny_patch16_dinov3_qkvb",
    "fasternet": "fasternet_t0",
    "fastvit": "fastvit_t8",
    "focalnet": "focalnet_tiny_srf",
    "gcvit": "gcvit_xxtiny",
    "gemma4_vit": "gemma4_vit_167m",
    "ghostnet": "ghostnet_050",
    "hardcorenas": "hardcorenas_b",
    "hgnet": "hgnetv2_b0",
    "hiera": "hiera_tiny_224",
    "hieradet_sam2": "sam2_hiera_tiny",
    "hrnet": "hrnet_w18_small",
    "iformer": "iformer_t",
    "inception_next": "inception_next_atto",
    "inception_resnet_v2": "inception_resnet_v2",
    "inception_v3": "inception_v3",
    "inception_v4": "inception_v4",
    "lcnetv2": "lcnetv2_small",
    "levit": "levit_128s",
    "lowformer": "lowformer_b0",
    "mambaout": "test_mambaout",
    "maxxvit": "test_coatnet",
    "metaformer": "poolformerv2_s12",
    "mlp_mixer": "gmlp_ti16_224",
    "mobilenetv3": "mobilenetv3_small_050",
    "mobilenetv5": "mobilenetv5_base",
    "mobilevit": "mobilevit_xxs",
    "mvitv2": "mvitv2_tiny",
    "naflexvit": "naflexvit_base_patch16_parfac_gap",
    "nasnet": "nasnetalarge",
    "nest": "nest_tiny",
    "nextvit": "nextvit_small",
    "nfnet": "test_nfnet",
    "pit": "pit_ti_224",
    "pnasnet": "pnasnet5large",
    "pvt_v2": "pvt_v2_b0",
    "qwen3_vit": "qwen3_vit_88m",
    "rdnet": "rdnet_tiny",
    "regnet": "regnetx_002",
    "repghost": "repghostnet_050",
    "repvit": "repvit_m1",
    "res2net": "res2next50",
    "resnest": "resnest14d",
    "resnet": "test_resnet",
    "resnetv2": "resnetv2_18",
    "rexnet": "rexnet_100",
    "selecsls": "selecsls42",
    "senet": "legacy_seresnet18",
    "sequencer": "sequencer2d_s",
    "shvit": "shvit_s1",
    "sknet": "skresnet18",
    "starnet": "starnet_s050",
    "swiftformer": "swiftformer_xs",
    "swin_transformer": "swin_tiny_patch4_window7_224",
    "swin_transformer_v2": "swinv2_tiny_window8_256",
    "swin_transformer_v2_cr": "swinv2_cr_tiny_224",
    "tiny_vit": "tiny_vit_5m_224",
    "tnt": "tnt_s_legacy_patch16_224",
    "tresnet": "tresnet_m",
    "twins": "twins_svt_small",
    "vgg": "vgg11",
    "visformer": "visformer_tiny",
    "vision_transformer": "test_vit",
    "vision_transformer_hybrid": "vit_tiny_r_s16_p8_224",
    "vision_transformer_relpos": "test_vit_relpos",
    "vision_transformer_sam": "samvit_base_patch16_224",
    "vitamin": "vitamin_small_224",
    "volo": "volo_d1_224",
    "vovnet": "ese_vovnet19b_slim_dw",
    "xception": "legacy_xception",
    "xception_aligned": "xception41p",
    "xcit": "xcit_nano_12_p8_224",
}

_ROW = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96}
_PYRAMID = {"hidden_sizes": [16, 32, 40, 64], "depths": [1, 1, 1, 1]}
_SWIN = {"embed_dim": 24, "depths": [1, 1, 2, 1], "num_heads": [1, 2, 3, 6], "window_size": 4}

TRANSFORMERS = {
    "BEiT": ("Beit", _ROW),
    "CLIP vision": ("CLIP", {"vision_config": {**_ROW, "patch_size": 16}}),
    "ConvNeXt": ("ConvNext", _PYRAMID),
    "Data2VecVision": ("Data2VecVision", _ROW),
    "DeiT": ("DeiT", _ROW),
    "DINOv2": ("Dinov2", {**_ROW, "patch_size": 14, "image_size": 224}),
    "DINOv2 with registers": ("Dinov2WithRegisters", {**_ROW, "patch_size": 14, "image_size": 224}),
    "LeViT": ("Levit", {"hidden_sizes": [32, 48, 64], "num_attention_heads": [2, 3, 4], "depths": [1, 1, 1]}),
    "MobileViT": ("MobileViT", {"initializer_range": 0.1}),  # the usual 0.02 lets the signal die out
    "PVT": ("Pvt", _PYRAMID),
    "ResNet": ("ResNet", {**_PYRAMID, "embedding_size": 8}),
    "SegFormer": ("Segformer", _PYRAMID),
    "SigLIP": ("Siglip", {"vision_config": {**_ROW, "patch_size": 16}}),
    "Swin": ("Swin", _SWIN),
    "Swin v2": ("Swinv2", _SWIN),
    "ViT": ("ViT", _ROW),
}


def side(library: str, name: str) -> int:
    """The height of the pictures that a network usually sees."""
    if library == "timm":
        import timm

        return timm.get_pretrained_cfg(name).input_size[1]
    return {"inception_v3": 299, "MobileViT": 256}.get(name, 224)


def build(library: str, name: str, size: tuple[int, int] | None, seed: int = 0) -> nn.Module:
    """A network of one of the three libraries, made for inputs of a size; None is the one that it usually has.

    Weights that start at zero, as those of some heads, would make every score the same: they are made random, too.
    """
    torch.manual_seed(seed)
    model = {"torchvision": _torchvision, "timm": _timm, "transformers": _transformers}[library](name, size).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("attention_biases"):  # offsets row by row: what is nearer counts more, as after training
            side = math.isqrt(parameter.shape[1])
            offsets = torch.arange(parameter.shape[1])
            parameter.data.copy_(-(offsets // side + offsets % side).expand_as(parameter))
        elif parameter.ndim > 1 and not parameter.any():
            nn.init.normal_(parameter, std=0.02)
    return model


def measure_statistics(model: nn.Module, pictures: torch.Tensor) -> None:
    """Give every batch normalisation the statistics of some pictures: as made, it lets a signal die out or explode."""
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean
        norm.train()
    with torch.no_grad():
        model(pictures)
    model.eval()


def _torchvision(name: str, size: tuple[int, int] | None) -> nn.Module:
    from torchvision.models import get_model

    if name.startswith("vit") and size:
        raise ValueError("this one takes squares only")
    options = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
    return get_model(name, weights=None, **options)


def _timm(name: str, size: tuple[int, int] | None) -> nn.Module:
    import timm

    try:
        return timm.create_model(name, **({"img_size": size} if size else {}))
    except TypeError:  # a convolutional network, that takes any size
        return timm.create_model(name)


def _transformers(name: str, size: tuple[int, int] | None) -> nn.Module:
    import transformers

    kind, options = TRANSFORMERS[name]
    options = {"num_labels": 10, **options}
    if size and "vision_config" in options:
        options["vision_config"] = {**options["vision_config"], "image_size": size}
    elif size:
        options.setdefault("image_size", size)  # with one of its own, a network adapts its positions
    config = getattr(transformers, f"{kind}Config")(**options)
    return getattr(transformers, f"{kind}ForImageClassification")(config)
