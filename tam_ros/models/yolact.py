# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""YOLACT (arXiv 1904.02689) and YOLACT++ (arXiv 1912.06218): instance segmentation in one pass.

A feature pyramid predicts boxes, class scores and coefficients at fixed places; one set of
prototype masks is predicted for the whole image. The mask of an object is the sum of the
prototypes, weighted with its coefficients. YOLACT++ adds deformable convolutions, more sizes of
boxes, and a small network that predicts how good a mask is.

Module names are the keys of the official checkpoints. R is the side of the network's input, P the
number of places and shapes for which a box is predicted (`priors`), K the number of prototypes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_weights

from tam_ros.coco_classes import COCO_CLASSES
from tam_ros.model_files import DETECTOR, DetectorSpec, GraphSpec, TensorSpec
from tam_ros.models.deformable import DeformableConv2d, SamplePlaces
from tam_ros.models.family import Family, HalfPrecision
from tam_ros.models.yolact_backbones import Bottleneck, Darknet, ResNet

CHANNELS = 256  # of the feature pyramid and the heads
PROTOTYPES = 32
SCALES = (24, 48, 96, 192, 384)  # sides of the priors of each level, pixels of the input
RATIOS = (1.0, 0.5, 2.0)  # widths over heights
VARIANCES = (0.1, 0.2)  # units of the predicted offsets of centres and of sizes

# By mean and standard deviation of ImageNet; in the official configuration they are in the order
# of BGR, and the image is converted to RGB afterwards.
IMAGENET = ((123.68, 116.78, 103.94), (58.40, 57.12, 57.38))
UNIT = ((0.0, 0.0, 0.0), (255.0, 255.0, 255.0))

# What only training needs, and layers of older checkpoints that the official code ignores too.
_NOT_USED = re.compile(r'semantic_seg_conv\.|fpn\.downsample_layers\.[2-9]|backbone\.layer\d')


@dataclass(frozen=True)
class YolactConfig:
    """Architecture of one network; the defaults are those of `yolact_resnet50`.

    Attributes:
        image_size: R.
        backbone: `resnet` or `darknet`.
        blocks: of each stage of the backbone.
        deformable: last blocks of each stage that have deformable convolutions (ResNet).
        deformable_interval: only every so many of them.
        octave: sizes of priors for each factor of two, at every place.
        square: whether all priors are squares. The first version of the network made them square
            by a mistake that the weights were trained with.
        rescoring: whether a network predicts how good the masks are.
        class_names: the classes, in the order of the scores.
    """

    image_size: int = 550
    backbone: str = 'resnet'
    blocks: Sequence[int] = (3, 4, 6, 3)
    deformable: Sequence[int] = (0, 0, 0, 0)
    deformable_interval: int = 1
    octave: int = 1
    square: bool = True
    rescoring: bool = False
    class_names: Sequence[str] = COCO_CLASSES

    def __post_init__(self) -> None:
        """Check the backbone; ValueError says what is wrong."""
        if self.backbone not in ('resnet', 'darknet'):
            raise ValueError(f'backbone is {self.backbone!r}, neither resnet nor darknet')

    def priors(self) -> NDArray[np.float32]:
        """Return the priors [P, 4]: centre x, y, width, height in widths of the input."""
        found: list[tuple[float, float, float, float]] = []
        for scale, side in zip(SCALES, self.grids(), strict=True):
            for j, i in product(range(side), repeat=2):
                for part, ratio in product(range(self.octave), RATIOS):
                    size = scale * 2 ** (part / self.octave) / self.image_size
                    width = size * ratio**0.5
                    height = width if self.square else size / ratio**0.5
                    found.append(((i + 0.5) / side, (j + 0.5) / side, width, height))
        return np.array(found, np.float32)

    def grids(self) -> list[int]:
        """Return the sides of the levels, of strides 8 to 128."""
        sides = [self.image_size]
        while len(sides) < 8:
            sides.append((sides[-1] + 1) // 2)
        return sides[3:]


class FeaturePyramid(nn.Module):
    """Features of strides 8 to 128 with the same number of channels (arXiv 1612.03144)."""

    def __init__(self, in_channels: Sequence[int]) -> None:
        super().__init__()
        # In the checkpoints the coarsest level comes first.
        self.lat_layers = nn.ModuleList(
            nn.Conv2d(count, CHANNELS, 1) for count in reversed(in_channels)
        )
        self.pred_layers = nn.ModuleList(
            nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1) for _ in in_channels
        )
        self.downsample_layers = nn.ModuleList(
            nn.Conv2d(CHANNELS, CHANNELS, 3, 2, padding=1) for _ in range(2)
        )

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Features of strides 8 to 32 to those of strides 8 to 128."""
        merged: list[Tensor] = []
        for layer, one in zip(self.lat_layers, reversed(features), strict=True):
            x = layer(one)
            if merged:
                size = [int(side) for side in one.shape[2:]]
                x = x + functional.interpolate(merged[-1], size=size, mode='bilinear')
            merged.append(x)
        found = [
            functional.relu(layer(x)) for layer, x in zip(self.pred_layers, merged, strict=True)
        ][::-1]
        for layer in self.downsample_layers:
            found.append(layer(found[-1]))
        return found


class Head(nn.Module):
    """Predicts boxes, classes and coefficients of one level; all levels share its weights."""

    def __init__(self, shapes: int, classes: int) -> None:
        super().__init__()
        self.upfeature = nn.Sequential(nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1), nn.ReLU())
        self.bbox_layer = nn.Conv2d(CHANNELS, shapes * 4, 3, padding=1)
        self.conf_layer = nn.Conv2d(CHANNELS, shapes * (classes + 1), 3, padding=1)
        self.mask_layer = nn.Conv2d(CHANNELS, shapes * PROTOTYPES, 3, padding=1)
        self.sizes = (4, classes + 1, PROTOTYPES)

    def forward(self, x: Tensor) -> list[Tensor]:
        """[1, C, G, G] to [1, G * G * shapes, 4], the same with classes, and with K."""
        x = self.upfeature(x)
        layers = (self.bbox_layer, self.conf_layer, self.mask_layer)
        return [
            layer(x).permute(0, 2, 3, 1).reshape(1, -1, size)
            for layer, size in zip(layers, self.sizes, strict=True)
        ]


class Decoding(nn.Module):
    """What the numbers of the heads mean; computes in single precision."""

    def __init__(self, priors: NDArray[np.float32]) -> None:
        super().__init__()
        self.register_buffer('priors', torch.from_numpy(priors), persistent=False)

    def forward(
        self, offsets: Tensor, classes: Tensor, coefficients: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return boxes [1, P, 4], scores [1, P, classes] and coefficients [1, P, K].

        The boxes are x0, y0, x1, y1 in widths and heights of the image.
        """
        centre = self.priors[:, :2] + offsets[..., :2] * VARIANCES[0] * self.priors[:, 2:]
        half = self.priors[:, 2:] * torch.exp(offsets[..., 2:] * VARIANCES[1]) / 2
        boxes = torch.cat([centre - half, centre + half], -1)
        return boxes, classes.softmax(-1)[..., 1:], coefficients.tanh()  # 0 is the background


class Upsample(nn.Module):
    """Doubles height and width."""

    def forward(self, x: Tensor) -> Tensor:
        """[1, C, H, W] to [1, C, 2H, 2W]."""
        size = [2 * int(side) for side in x.shape[2:]]
        return functional.interpolate(x, size=size, mode='bilinear')


class MaskRescoring(nn.Module):
    """Predicts the intersection over union of a mask with the truth, for each class."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        last = 1
        for channels in (8, 16, 32, 64, 128):
            layers += [nn.Conv2d(last, channels, 3, 2), nn.ReLU()]
            last = channels
        self.maskiou_net = nn.Sequential(*layers, nn.Conv2d(last, classes, 1), nn.ReLU())

    def forward(self, masks: Tensor) -> Tensor:
        """Masks [B, 1, M, M] of numbers 0 to 1 to [B, classes]."""
        return self.maskiou_net(masks).amax((2, 3))


class Yolact(nn.Module):
    """The network."""

    def __init__(self, config: YolactConfig) -> None:
        super().__init__()
        self.config = config
        if config.backbone == 'resnet':
            self.backbone: nn.Module = ResNet(
                config.blocks, config.deformable, config.deformable_interval
            )
        else:
            self.backbone = Darknet(config.blocks)
        classes = len(config.class_names)
        self.fpn = FeaturePyramid(self.backbone.channels[-3:])
        self.proto_net = nn.Sequential(
            nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1),
            nn.ReLU(),
            Upsample(),
            nn.ReLU(),
            nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(CHANNELS, PROTOTYPES, 1),
        )
        self.prediction_layers = nn.ModuleList([Head(len(RATIOS) * config.octave, classes)])
        self.decoding = Decoding(config.priors())
        if config.rescoring:
            self.maskiou_net = MaskRescoring(classes)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Find objects.

        Args:
            image: float32 [1, R, R, 3], RGB from 0 to 255.

        Returns:
            Boxes, scores and coefficients, see `Decoding`, and prototypes [1, M, M, K].
        """
        mean, deviation = IMAGENET if self.config.backbone == 'resnet' else UNIT
        normal = (image - torch.tensor(mean)) / torch.tensor(deviation)
        features = self.fpn(self.backbone(normal.permute(0, 3, 1, 2))[-3:])
        head = self.prediction_layers[0]
        parts = [torch.cat(level, 1) for level in zip(*map(head, features), strict=True)]
        prototypes = functional.relu(self.proto_net(features[0]))
        return *self.decoding(*parts), prototypes.permute(0, 2, 3, 1)


def official_state(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Leave out what only training needs."""
    return {key: value for key, value in state.items() if not _NOT_USED.match(key)}


def fuse(network: nn.Module) -> None:
    """Let deformable convolutions take over the normalisations that follow them, in place.

    The exporter does it for other convolutions.
    """
    for block in network.modules():
        if isinstance(block, Bottleneck) and isinstance(block.conv2, DeformableConv2d):
            conv, norm = block.conv2, block.bn2
            assert isinstance(norm, nn.BatchNorm2d)
            assert norm.running_mean is not None and norm.running_var is not None
            conv.weight, conv.bias = fuse_conv_bn_weights(
                conv.weight,
                conv.bias,
                norm.running_mean,
                norm.running_var,
                norm.eps,
                norm.weight,
                norm.bias,
            )
            block.bn2 = nn.Identity()


def describe(network: Yolact, name: str, weights: str, fingerprint: str) -> DetectorSpec:
    """Return the spec of a network."""
    config = network.config
    size, count = config.image_size, len(network.decoding.priors)
    classes, side = len(config.class_names), 2 * config.grids()[0]
    graphs = [
        GraphSpec(
            'detect',
            (TensorSpec('image', 'float32', (1, size, size, 3)),),
            (
                TensorSpec('boxes', 'float32', (1, count, 4)),
                TensorSpec('scores', 'float32', (1, count, classes)),
                TensorSpec('coefficients', 'float32', (1, count, PROTOTYPES)),
                TensorSpec('prototypes', 'float32', (1, side, side, PROTOTYPES)),
            ),
            tolerates_bf16=False,
        )
    ]
    if config.rescoring:
        graphs.append(
            GraphSpec(
                'rescore',
                (TensorSpec('masks', 'float32', (1, side, side), batched=True),),
                (TensorSpec('ious', 'float32', (classes,), batched=True),),
                tolerates_bf16=False,
            )
        )
    return DetectorSpec(
        name=name,
        weights=weights,
        fingerprint=fingerprint,
        kind=DETECTOR,
        graphs=tuple(graphs),
        class_names=tuple(config.class_names),
    )


def graph_modules(network: Yolact, spec: DetectorSpec) -> dict[str, nn.Module]:
    """Return the module of each graph."""
    modules: dict[str, nn.Module] = {'detect': network}
    if network.config.rescoring:
        modules['rescore'] = network.maskiou_net
    return modules


FAMILY = Family(
    name='yolact',
    config=YolactConfig,
    network=Yolact,
    describe=describe,
    graph_modules=graph_modules,
    half_precision=HalfPrecision(
        halves=('backbone', 'fpn', 'proto_net', 'prediction_layers.0'),
        islands=(SamplePlaces,),
        heads=('decoding',),
    ),
    fuse=fuse,
    official_state=official_state,
)
