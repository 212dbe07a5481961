# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Where a network may compute in half precision, and where it may not.

Half precision has 11 significant bits and ends at 65504. Matrix products, convolutions and the
attention between them take that well, and are nearly all of the work. What does not:

- Normalisation squares and sums whole rows: overflow after attention is the usual end of a ViT in
  half precision. The mean over a map that squeeze-and-excitation takes is such a sum too.
- Prompts are pixels, up to 1024, of which Fourier codes take the sine.
- Heads that end in numbers the tracker decides with: masks, their IoU, the object score, the
  pointer. They are small.

Queries and keys meet in half precision and the softmax stays there: a part in single precision
inside the pattern keeps TensorRT from running it as one kernel. The rotary positions turn them in
half precision too; in single precision the result is no nearer.

The parts are marked in the network with hooks that change no number. Traced, the marks become
nodes of `DOMAIN`, from which `tam_ros.export.types` makes a graph of either precision.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from tam_ros.models.layers import LayerNorm2d
from tam_ros.models.network import TrackAnything
from tam_ros.models.repvit import SqueezeExcite

DOMAIN = 'tam_ros'
MARK = 'Precision'
FLOAT32, FLOAT16 = 'fp32', 'fp16'

# What computes in half precision, but for the exceptions below.
HALVES = (
    'image_encoder',
    'memory_attention',
    'sam_mask_decoder',
    'memory_encoder',
    'spatial_perceiver',
)
# Inside those: in single precision, results back in half precision.
ISLANDS = (nn.LayerNorm, LayerNorm2d, SqueezeExcite)
# In single precision, results too.
HEADS = (
    'sam_mask_decoder.output_hypernetworks_mlps',
    'sam_mask_decoder.iou_prediction_head',
    'sam_mask_decoder.pred_obj_score_head',
    'obj_ptr_proj',
)


class _Mark(torch.autograd.Function):
    """Does nothing; becomes a node of the exported graph."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, precision: str) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def symbolic(g: Any, x: Any, precision: str) -> Any:
        return g.op(f'{DOMAIN}::{MARK}', x, to_s=precision).setType(x.type())


def _marked(values: Any, precision: str) -> Any:
    """Mark every tensor of floating-point numbers in a structure of them."""
    return tree_map_only(
        Tensor, lambda x: _Mark.apply(x, precision) if x.is_floating_point() else x, values
    )


def mark(network: TrackAnything) -> None:
    """Mark the precision of the parts of a network, for good."""

    def inputs(module: nn.Module, precision: str) -> None:
        module.register_forward_pre_hook(lambda _, arguments: _marked(arguments, precision))

    def outputs(module: nn.Module, precision: str) -> None:
        module.register_forward_hook(lambda _, __, result: _marked(result, precision))

    for name, module in network.named_modules():
        if name in HALVES:
            inputs(module, FLOAT16)
        elif name.startswith(HEADS) and type(module).__name__ == 'MLP':
            inputs(module, FLOAT32)
        elif isinstance(module, ISLANDS) and name.split('.')[0] in HALVES:
            inputs(module, FLOAT32)
            outputs(module, FLOAT16)
