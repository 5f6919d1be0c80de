"""Networks `smp/NAME`: the architectures of segmentation_models.pytorch with its encoders, such as `smp/FPN`.

In training, all layers stay in evaluation mode. The encoder's BatchNorm keeps its pretrained statistics, as that of our
backbones does; the decoder's, which is new, gets those of its maps of random images, once (`_calibrate`). Dropout and
stochastic depth are off. So a training draws no random numbers and needs no statistics of a batch: it is the same on
one and two GPUs and after a resume, and batches of one image work, for which some of these networks fail otherwise.

Logits are those before smp's own upsampling: `resize` replaces it, so that training and the scores for a CRF need a
16th (stride 4) or a 64th (stride 8) of the memory. Unet, UnetPlusPlus, MAnet and Linknet decode to full resolution;
their scores for a CRF take 4 bytes per class and pixel.
"""

import math
from collections.abc import Iterable
from difflib import get_close_matches

import numpy as np
import segmentation_models_pytorch as smp
import timm
import torch
from segmentation_models_pytorch.encoders import encoders, get_preprocessing_params
from timm.data import constants
from torch import Tensor, nn
from torch.nn import functional as F

from ppl.data.crops import normalise
from ppl.jobs.errors import UserError, reason
from ppl.networks.backbones import load_weights
from ppl.segment.logits import resize, segmentation_loss
from ppl.segment.settings import Smp, Training
from ppl.training import optimizers
from ppl.training.optimizers import Group

# Without DPT, whose vision transformers have other outputs than the encoders of the others.
ARCHITECTURES = {kind.__name__: kind for kind in smp.MODEL_ARCHITECTURES_MAPPING.values() if kind is not smp.DPT}
ALL_STAGES = 4
LEAST_SIDE = 128  # pixels; PAN and some encoders pool too often for smaller images
RANDOM_IMAGES = 8

Colour = tuple[float, ...]

HALF = (constants.IMAGENET_INCEPTION_MEAN, constants.IMAGENET_INCEPTION_STD)
NORMALISATIONS: dict[str, tuple[Colour, Colour]] = {
    "inception": HALF,
    "xception": HALF,
    "timm-tf_efficientnet_lite": HALF,
    "dpn": (constants.IMAGENET_DPN_MEAN, constants.IMAGENET_DPN_STD),
}
"""Mean and standard deviation of smp's encoders, by the start of their names; all others have those of ImageNet."""


class Encoder(nn.Module):
    """An encoder of smp, with what the step needs of a backbone; its normalisation is part of the state dict."""

    def __init__(self, encoder: nn.Module, mean: Colour, std: Colour) -> None:
        super().__init__()
        self.encoder = encoder
        self.register_buffer("normalisation", torch.tensor([mean, std], dtype=torch.float64))  # (2, 3)

    @property
    def mean(self) -> Colour:
        return tuple(self.normalisation[0].tolist())

    @property
    def std(self) -> Colour:
        return tuple(self.normalisation[1].tolist())

    def prepare(self, photos: np.ndarray) -> Tensor:
        """Return photos (B, h, w, 3) uint8 RGB as normalised images (B, 3, h, w) float32 on the encoder's device."""
        images = normalise(photos, self.mean, self.std, self.normalisation.device)
        return images.permute(0, 3, 1, 2)  # channels last in memory

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return feature maps, from the stride 1 of the images (B, 3, H, W) to the last stage's."""
        return self.encoder(x)


class SmpNetwork(nn.Module):
    """Encoder, decoder and head of a network of smp, for images of any size."""

    def __init__(self, network: smp.base.SegmentationModel, mean: Colour, std: Colour) -> None:
        super().__init__()
        self.backbone = Encoder(network.encoder, mean, std)
        self.decoder = network.decoder
        self.head = network.segmentation_head[0]  # the convolution, without upsampling

    def train(self, mode: bool = True) -> "SmpNetwork":
        """Set the mode of this module; all layers stay in evaluation mode, see the module's docstring."""
        super().train(mode)
        for part in self.children():
            part.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, C+1, ceil(H/s), ceil(W/s)) of normalised images (B, 3, H, W), s the decoder's stride.

        Images are padded with zeros at the bottom and right to multiples of the encoder's stride, which decoders need,
        and to at least `LEAST_SIDE`.
        """
        h, w = x.shape[-2:]
        multiple = self.backbone.encoder.output_stride
        bottom, right = (max(side + -side % multiple, LEAST_SIDE) - side for side in (h, w))
        x = F.pad(x, (0, right, 0, bottom))
        logits = self.head(self.decoder(self.backbone(x)))
        stride = x.shape[-1] // logits.shape[-1]
        return logits[..., : math.ceil(h / stride), : math.ceil(w / stride)]


def build(name: str, settings: Smp, classes: int, *, weights: str, frozen_stages: int) -> SmpNetwork:
    """Return a new network; `frozen_stages` is -1, or 4 for an encoder that is not trained.

    UserError for an architecture or encoder that does not exist, for a pair of them that smp does not support, and for
    weights that cannot be loaded.
    """
    check(name, settings)
    kind = _architecture(name)
    if frozen_stages not in (-1, ALL_STAGES):
        what = f"{name} has an encoder without separate stages"
        raise UserError(f"segment.training.frozen_stages {frozen_stages}", what, f"choose -1 (none) or {ALL_STAGES}")
    # timm's encoders take a flag.
    pretrained = (True if settings.encoder.startswith("tu-") else "imagenet") if weights == "imagenet" else None
    try:
        network = kind(encoder_name=settings.encoder, encoder_weights=pretrained, classes=classes + 1)
        mean, std = _normalisation(settings.encoder, weights)
    except OSError as error:
        what = f"the download of the weights failed ({reason(error)})"
        remedy = "connect to huggingface.co, or set segment.training.weights to the file of a state dict"
        raise UserError(f"encoder {settings.encoder!r}", what, remedy) from error
    except (ValueError, KeyError, RuntimeError, NotImplementedError) as error:  # smp's, of encoders and of weights
        raise UserError(
            f"{name} with encoder {settings.encoder!r} and weights {weights!r}",
            f"not supported by segmentation_models.pytorch ({reason(error)})",
            "choose another encoder, or weights none",
        ) from error
    if weights not in ("imagenet", "none"):
        load_weights(network.encoder, weights)
    built = SmpNetwork(network, mean, std)
    built.backbone.requires_grad_(frozen_stages == -1)
    _calibrate(built, [built.backbone, built.decoder] if weights == "none" else [built.decoder])
    _drop_unused(built)
    return built


def check(name: str, settings: Smp) -> None:
    """Raise UserError for an architecture or an encoder that does not exist."""
    _architecture(name)
    _check_encoder(settings.encoder)


def loss(network: nn.Module, images: Tensor, labels: Tensor, *, exponent: float = 0) -> Tensor:
    """Return the mean loss at the stride of the logits (`segmentation_loss`)."""
    return segmentation_loss([network(images)], labels, exponent)


def parameter_groups(network: SmpNetwork, training: Training) -> list[Group]:
    """Return optimiser groups: the encoder at `lr`, decoder and head at `head_lr_factor` times it."""
    new = [*network.decoder.parameters(), *network.head.parameters()]
    rated = [(1, network.backbone.parameters()), (training.head_lr_factor, new)]
    return optimizers.parameter_groups(rated, lr=training.lr, weight_decay=training.weight_decay)


def _architecture(name: str) -> type[smp.base.SegmentationModel]:
    architecture = name.partition("/")[2]
    if architecture not in ARCHITECTURES:
        what = f"segmentation_models.pytorch has no architecture {architecture!r} for this step"
        raise UserError("segment.network", what, f"choose one of {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[architecture]


def _check_encoder(name: str) -> None:
    if name in encoders or (name.startswith("tu-") and timm.is_model(name.removeprefix("tu-"))):
        return
    known = [*encoders, *(f"tu-{model}" for model in timm.list_models())]
    what = f"segmentation_models.pytorch has no encoder {name!r}"
    raise UserError("segment.smp.encoder", what, _nearest(name, known))


def _nearest(name: str, known: Iterable[str]) -> str:
    close = get_close_matches(name, known)
    return f"choose one such as {', '.join(close or ['resnet50', 'efficientnet-b0', 'tu-convnext_tiny'])}"


def _normalisation(encoder: str, weights: str) -> tuple[Colour, Colour]:
    """Return mean and standard deviation of an encoder's input, RGB in 0..1.

    With `imagenet` those that smp stores with the weights, otherwise, as these are downloaded, those of this module.
    """
    if encoder.startswith("tu-"):
        config = timm.get_pretrained_cfg(encoder.removeprefix("tu-"), allow_unregistered=True)
        return (config.mean, config.std) if config else _IMAGENET
    if weights != "imagenet":
        return next((values for start, values in NORMALISATIONS.items() if encoder.startswith(start)), _IMAGENET)
    parameters = get_preprocessing_params(encoder)
    if parameters["input_space"] != "RGB" or parameters["input_range"] != [0, 1]:
        raise ValueError(f"its input is {parameters['input_space']} in {parameters['input_range']}")
    return tuple(parameters["mean"]), tuple(parameters["std"])


_IMAGENET = (constants.IMAGENET_DEFAULT_MEAN, constants.IMAGENET_DEFAULT_STD)


def _calibrate(network: SmpNetwork, parts: Iterable[nn.Module]) -> None:
    """Set the statistics of BatchNorm in untrained parts once, to those of their maps of random images.

    Without them untrained parts would amplify or attenuate their maps: initial weights are made for normalised ones.
    """
    generator = torch.Generator().manual_seed(0)
    colour, contrast = (
        torch.randn(RANDOM_IMAGES, 3, 1, 1, generator=generator),
        torch.rand(RANDOM_IMAGES, 1, 1, 1, generator=generator),
    )
    cells = torch.randn(RANDOM_IMAGES, 3, LEAST_SIDE // 8, LEAST_SIDE // 8, generator=generator)
    images = colour + 2 * contrast * resize(cells, (LEAST_SIDE, LEAST_SIDE))  # images differ, as photos do
    network.eval()
    for norm in (module for part in parts for module in part.modules()):
        if isinstance(norm, nn.BatchNorm2d):
            norm.train()
            norm.momentum = None  # the mean over all batches, of which there is one
    with torch.no_grad():
        network(images)
    network.eval()


def _drop_unused(network: SmpNetwork) -> None:
    """Exclude parameters that the logits do not depend on from the training.

    Encoders keep layers behind their last feature map, and data-parallel training waits for the gradient of each
    parameter.
    """
    network.eval()(torch.zeros(1, 3, LEAST_SIDE, LEAST_SIDE)).sum().backward()
    for parameter in network.parameters():
        parameter.requires_grad_(parameter.grad is not None)
        parameter.grad = None
