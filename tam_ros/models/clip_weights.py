# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of CLIP: the names of OpenAI for those of transformers; architectures from shapes.

Only the image tower need be there. OpenAI publishes weights in half precision as TorchScript
archives (see `torchscript_archive`), transformers as `.safetensors` and `.bin`, for the ViTs only.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

_LOGIT_SCALE = 4.6052  # ln 100, which every published CLIP has; not used here
# Numbers in OpenAI's archives that are no weights, and position numbers in older transformers.
_NO_WEIGHTS = re.compile(r'(input_resolution|context_length|vocab_size|.*\.position_ids)')
_BLOCKS = re.compile(r'(vision_model|text_model)\.encoder\.layers\.(\d+)\.(.+)')
_PARTS = {
    'self_attn.out_proj': 'attn.out_proj',
    'layer_norm1': 'ln_1',
    'layer_norm2': 'ln_2',
    'mlp.fc1': 'mlp.c_fc',
    'mlp.fc2': 'mlp.c_proj',
}
_NAMES = {
    'vision_model.embeddings.class_embedding': 'visual.class_embedding',
    'vision_model.embeddings.patch_embedding.weight': 'visual.conv1.weight',
    'vision_model.embeddings.position_embedding.weight': 'visual.positional_embedding',
    # The misspelling is the library's.
    'vision_model.pre_layrnorm.weight': 'visual.ln_pre.weight',
    'vision_model.pre_layrnorm.bias': 'visual.ln_pre.bias',
    'vision_model.post_layernorm.weight': 'visual.ln_post.weight',
    'vision_model.post_layernorm.bias': 'visual.ln_post.bias',
    'text_model.embeddings.token_embedding.weight': 'token_embedding.weight',
    'text_model.embeddings.position_embedding.weight': 'positional_embedding',
    'text_model.final_layer_norm.weight': 'ln_final.weight',
    'text_model.final_layer_norm.bias': 'ln_final.bias',
    'logit_scale': 'logit_scale',
}
_TRANSPOSED = {
    'visual_projection.weight': 'visual.proj',
    'text_projection.weight': 'text_projection',
}


def official_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint by OpenAI's names; unknown names stay as they are."""
    state = {name: value for name, value in state.items() if not _NO_WEIGHTS.fullmatch(name)}
    if any(name.startswith('vision_model.') for name in state):
        state = _from_transformers(state)
    if 'token_embedding.weight' in state:
        state.setdefault('logit_scale', torch.tensor(_LOGIT_SCALE))
    for name in [name for name in state if name.endswith('.running_mean')]:
        # Not every file has the counters, which are used in training only.
        state.setdefault(name.replace('running_mean', 'num_batches_tracked'), torch.zeros(()))
    return state


def _from_transformers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    renamed: dict[str, Tensor] = {}
    apart: dict[str, dict[str, Tensor]] = {}  # queries, keys and values, by the joint name
    for name, value in state.items():
        block = _BLOCKS.fullmatch(name)
        if name in _TRANSPOSED:
            renamed[_TRANSPOSED[name]] = value.T
        elif block is None:
            renamed[_NAMES.get(name, name)] = value
        else:
            tower, index, inner = block.groups()
            prefix = 'visual.' if tower == 'vision_model' else ''
            part, _, kind = inner.rpartition('.')
            prefix += f'transformer.resblocks.{index}.'
            if part in ('self_attn.q_proj', 'self_attn.k_proj', 'self_attn.v_proj'):
                apart.setdefault(f'{prefix}attn.in_proj_{kind}', {})[part[-6]] = value
            else:
                renamed[f'{prefix}{_PARTS.get(part, part)}.{kind}'] = value
    for name, parts in apart.items():
        if parts.keys() == set('qkv'):  # otherwise the check of the keys says what is missing
            renamed[name] = torch.cat([parts[one] for one in 'qkv'])
    return renamed


def config_from(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the values of `ClipConfig` that follow from the shapes of a checkpoint.

    Args:
        state: by OpenAI's names.

    Returns:
        Nothing if it is not that of a CLIP, whose keys are reported later.
    """
    shapes = {name: tuple(value.shape) for name, value in state.items()}
    try:
        return _vision(shapes) | _text(shapes)
    except (KeyError, ValueError):
        return {}


def _vision(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    if 'visual.proj' in shapes:
        width, embed = shapes['visual.proj']
        places, _ = shapes['visual.positional_embedding']
        return {
            'embed_dim': embed,
            'vision_width': width,
            'vision_layers': _count(shapes, r'visual\.transformer\.resblocks\.(\d+)\..+'),
            'patch_size': shapes['visual.conv1.weight'][-1],
            'grid': math.isqrt(places - 1),
        }
    places, _ = shapes['visual.attnpool.positional_embedding']
    return {
        'embed_dim': shapes['visual.attnpool.c_proj.weight'][0],
        'vision_width': shapes['visual.conv3.weight'][0],
        'resnet_layers': tuple(
            _count(shapes, rf'visual\.layer{stage}\.(\d+)\..+') for stage in (1, 2, 3, 4)
        ),
        'grid': math.isqrt(places - 1),
    }


def _text(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    if 'token_embedding.weight' not in shapes:
        return {'text_width': 0, 'text_layers': 0}
    vocabulary, width = shapes['token_embedding.weight']
    return {
        'text_width': width,
        'text_layers': _count(shapes, r'transformer\.resblocks\.(\d+)\..+'),
        'context_length': shapes['positional_embedding'][0],
        'vocabulary': vocabulary,
    }


def _count(shapes: Mapping[str, tuple[int, ...]], pattern: str) -> int:
    """Return how many blocks have names of a pattern."""
    return len({found[1] for name in shapes if (found := re.fullmatch(pattern, name))})
