# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What all families of trackers have in common: spec, graphs and mixed precision."""

from __future__ import annotations

from torch import Tensor, nn

from tam_ros.model_files import SINGLE_MEMORY, TrackerSpec
from tam_ros.models.config import ModelConfig
from tam_ros.models.family import HalfPrecision
from tam_ros.models.layers import LayerNorm2d
from tam_ros.models.network import TrackAnything

SLOTS = 7  # memories: of one prompted and six recent frames
POINTER_SLOTS = 16
POINT_TOKENS = 16  # a box and 13 clicks, or 15 clicks, and the padding token of SAM

HALF_PRECISION = HalfPrecision(
    halves=('image_encoder', 'memory_attention', 'sam_mask_decoder', 'memory_encoder'),
    islands=(nn.LayerNorm, LayerNorm2d),
    heads=(
        'sam_mask_decoder.output_hypernetworks_mlps',
        'sam_mask_decoder.iou_prediction_head',
        'sam_mask_decoder.pred_obj_score_head',
        'obj_ptr_proj',
    ),
)


def describe(network: TrackAnything, name: str, weights: str, fingerprint: str) -> TrackerSpec:
    """Return the spec of a network."""
    config: ModelConfig = network.config
    downsample = network.mask_downsample
    assert downsample.bias is not None
    return TrackerSpec(
        name=name,
        weights=weights,
        fingerprint=fingerprint,
        image_size=config.image_size,
        dim=config.dim,
        memory_tokens=config.memory_tokens,
        memory_dim=config.memory_dim,
        slots=SLOTS,
        pointer_slots=POINTER_SLOTS,
        point_tokens=POINT_TOKENS,
        pooled=config.pooled,
        dense_prompt_prior=config.dense_prompt_prior,
        mask_downsample_weight=tuple(downsample.weight.detach().flatten().tolist()),
        mask_downsample_bias=downsample.bias.item(),
        high_resolution=config.high_resolution,
    )


class NetworkFunction(nn.Module):
    """Wraps one function of a network as a module."""

    def __init__(self, network: TrackAnything, function: str, **fixed: bool) -> None:
        super().__init__()
        self.network = network
        self.function = function
        self.fixed = fixed

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Call the function."""
        return getattr(self.network, self.function)(*inputs, **self.fixed)


class StoredMemory(NetworkFunction):
    """Encodes memories and rounds them to bfloat16, as the official predictor stores them.

    The rounding is part of the graph, so that memories are stored without leaving the device.
    """

    def forward(self, *inputs: Tensor) -> Tensor:
        """Call the function."""
        memory = super().forward(*inputs)
        assert isinstance(memory, Tensor)
        return memory.bfloat16().float()


def graph_modules(network: TrackAnything, spec: TrackerSpec) -> dict[str, nn.Module]:
    """Return the module of each graph."""
    modules: dict[str, nn.Module] = {
        'image_encoder': NetworkFunction(network, 'encode_image'),
        'memory_attention': NetworkFunction(network, 'attend_memory', pooled=spec.pooled),
        'mask_decoder': NetworkFunction(network, 'decode_masks'),
        'memory_encoder': StoredMemory(network, 'encode_memory'),
    }
    if spec.pooled:
        modules[SINGLE_MEMORY] = NetworkFunction(network, 'attend_memory', pooled=False)
    return modules
