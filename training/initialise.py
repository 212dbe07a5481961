# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Initial weights that avoid the plateau in which every mask is empty."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from tam_ros.models.efficienttam import EfficientTAM
from tam_ros.models.vit import PRETRAIN_GRID


def fourier_frequencies(channels: int, generator: torch.Generator) -> Tensor:
    """Return frequencies of the prompt position encoding [2, channels / 2], from coarse to fine.

    SAM draws them from one Gaussian, which a short training cannot make use of; here their
    scales are spread evenly in the logarithm.
    """
    scales = torch.logspace(math.log10(0.12), math.log10(1.3), channels // 2)
    return torch.randn(2, channels // 2, generator=generator) * scales


def smooth_position(grid: int, channels: int, generator: torch.Generator) -> Tensor:
    """Return a smooth random code of each position: [1, grid * grid, channels], std 0.3."""
    centre = (torch.arange(grid) + 0.5) / grid * 2 - 1
    y, x = torch.meshgrid(centre, centre, indexing='ij')
    frequencies = fourier_frequencies(64, generator)
    angle = torch.stack((x, y), -1).reshape(-1, 2) @ frequencies * (2 * math.pi)
    code = torch.cat((angle.sin(), angle.cos()), -1)
    code = code @ torch.randn(code.shape[1], channels, generator=generator)
    return (0.3 * (code - code.mean(0)) / code.std())[None]


def _match_keys_to_queries(query: nn.Linear, key: nn.Linear, gain: float = 1.0) -> None:
    """Initialise an attention to attend to keys that resemble the query."""
    query.weight.mul_(gain)
    key.weight.copy_(query.weight)
    key.bias.copy_(query.bias)


@torch.no_grad()
def initialise(model: EfficientTAM, seed: int) -> None:
    """Initialise every parameter of a network, as a function of the seed.

    Four choices keep training from settling on empty masks: positions are visible to the
    encoder and, at several scales, to the prompts, and the cross-attentions start out by
    matching equal features, in the mask decoder as in the memory attention.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            module.reset_parameters()
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.5)
    for name in ('maskmem_tpos_enc', 'no_mem_embed', 'no_mem_pos_enc', 'no_obj_ptr'):
        nn.init.trunc_normal_(getattr(model, name), std=0.02)

    channels = model.config.trunk_dim
    model.image_encoder.trunk.pos_embed[:, 1:] = smooth_position(
        PRETRAIN_GRID, channels, generator
    )
    model.sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix.copy_(
        fourier_frequencies(model.config.dim, generator)
    )

    decoder = model.sam_mask_decoder
    for layer in decoder.transformer.layers:
        for attention in (layer.cross_attn_token_to_image, layer.cross_attn_image_to_token):
            _match_keys_to_queries(attention.q_proj, attention.k_proj)
    final = decoder.transformer.final_attn_token_to_image
    _match_keys_to_queries(final.q_proj, final.k_proj)
    decoder.pred_obj_score_head.layers[-1].bias.fill_(2.0)  # most objects are present

    # The input is a mask prompt: logits of +-10.
    model.mask_downsample.weight.fill_(20 / model.mask_downsample.weight.numel())
    model.mask_downsample.bias.fill_(-10.0)

    encoder = model.memory_encoder
    identity = torch.eye(model.config.dim)[..., None, None]
    encoder.pix_feat_proj.weight.copy_(identity)
    encoder.pix_feat_proj.bias.zero_()
    nn.init.orthogonal_(encoder.out_proj.weight.flatten(1))
    for block in encoder.fuser.layers:
        block.gamma.fill_(0.3)
    squeeze = encoder.out_proj.weight.flatten(1)  # [memory_dim, dim]
    for layer in model.memory_attention.layers:
        _match_keys_to_queries(layer.self_attn.q_proj, layer.self_attn.k_proj)
        cross = layer.cross_attn_image
        cross.q_proj.weight.mul_(1.25)
        cross.k_proj.weight.copy_(cross.q_proj.weight @ squeeze.T)
        cross.k_proj.bias.copy_(cross.q_proj.bias)
