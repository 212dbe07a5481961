# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Every component of EdgeTAM against the official code's outputs."""

from __future__ import annotations

import edgekit as kit
import numpy as np
import pytest
import torch

from tam_ros.models.config import (
    IMAGE_MEAN,
    IMAGE_STD,
    EdgeTAMConfig,
)
from tam_ros.models.edgetam import EdgeTAM
from tam_ros.models.layers import SinePosition
from tam_ros.models.memory_attention import MemoryTokens
from tam_ros.models.repvit import fuse
from tam_ros.tracking.bank import BankShape, MemoryBank
from tam_ros.tracking.frame_result import enlarge
from tam_ros.tracking.mask_prediction import choose_masks
from tam_ros.tracking.network_input import resize_to_network
from tam_ros.tracking.prompts import (
    MASK_PROMPT_LOGIT,
    downsample_mask,
    mask_to_logits,
    resize_antialiased,
)

pytestmark = pytest.mark.skipif(
    not kit.KIT.is_dir(), reason='the parity kit (../shared/parity/edgetam) is absent'
)

TOLERANCE = 1e-4  # the kit's own; 1e-6 of noise on the inputs changes its outputs by up to 1e-5
R, G = 1024, 64
PADDING = -1


@pytest.fixture(scope='module')
def network():
    """Return the network with the kit's weights."""
    network = EdgeTAM(EdgeTAMConfig()).eval()
    network.load_state_dict(
        {key: torch.from_numpy(value) for key, value in kit.state_dict().items()}, strict=True
    )
    with torch.inference_mode():
        yield network


def given(what, shape, scale=1.0):
    """Return a test input of the kit as a tensor."""
    return torch.from_numpy(kit.tensor(what, shape, scale))


def check(ours, name, tolerance=TOLERANCE):
    """Compare with an array of the kit."""
    ours = ours.detach().numpy() if isinstance(ours, torch.Tensor) else ours
    deviation = kit.deviation(ours, name)
    assert deviation < tolerance, (name, deviation)


def as_map(tokens):
    """[N, C] to [1, C, G, G]."""
    side = int(len(tokens) ** 0.5)
    return tokens.T.reshape(1, -1, side, side)


def test_state_dict_keys_and_shapes_are_the_official_ones(network):
    ours = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    assert ours == kit.keys()


def test_image_encoder(network):
    image = torch.from_numpy(resize_to_network(kit.frames()[0], R, 'pil').copy()[None])
    normalised = (image / 255.0 - torch.tensor(IMAGE_MEAN)) / torch.tensor(IMAGE_STD)
    normalised = normalised.permute(0, 3, 1, 2)
    check(normalised, 'pre/video_frame0')
    for index, stage in enumerate(network.image_encoder.trunk(normalised)):
        check(stage, f'enc/trunk{index}')
    features = network.image_encoder(normalised)
    for index, level in enumerate(reversed(features)):
        check(level, f'enc/fpn{index}')
        check(as_map(SinePosition(256, level.shape[-1])()), f'enc/pos{index}')
    encoded, without_memory, stride_8, stride_4 = network.encode_image(image)
    check(encoded, 'enc/fpn2')
    check(stride_8, 'enc/s1')
    check(stride_4, 'enc/s0')
    torch.testing.assert_close(without_memory, encoded + network.no_mem_embed.reshape(1, -1, 1, 1))


def test_trunk_fused_into_single_convolutions_computes_the_same(network):
    fused = EdgeTAM(network.config).eval()
    fused.load_state_dict(network.state_dict())

    def convolutions():
        return sum(
            isinstance(module, torch.nn.Conv2d) for module in fused.image_encoder.trunk.modules()
        )

    assert convolutions() == 126
    fuse(fused)
    assert convolutions() == 103
    assert not any('bn' in key for key in fused.state_dict())
    x = given('in/curr', (4096, 1, 256)).reshape(-1)[: 3 * 256 * 256].reshape(1, 3, 256, 256)
    for ours, theirs in zip(fused.image_encoder(x), network.image_encoder(x), strict=True):
        assert (ours - theirs).abs().max() < 1e-5 * theirs.abs().max()


def test_memory_encoder(network):
    features = given('in/pix_feat', (1, 256, G, G))
    logits = torch.from_numpy(kit.module('inputs').smooth_mask_logits('open'))
    raw = network.memory_encoder(features, logits.sigmoid() * 20 - 10)
    check(raw, 'memenc/features')
    check(as_map(network.spatial_perceiver.position()), 'memenc/pos')
    check(network.memory_position()[None], 'memenc/latents_pos')
    check(network.spatial_perceiver(raw), 'memenc/latents_binarize0')
    check(
        network.spatial_perceiver(
            network.memory_encoder(features, (logits > 0).float() * 20 - 10)
        ),
        'memenc/latents_binarize1',
    )


def test_perceiver_with_a_batch(network):
    tokens = network.spatial_perceiver(given('in/perceiver', (2, 64, G, G)))
    check(tokens, 'perceiver/latents')
    check(tokens[:, :256], 'perceiver/latents_1d')
    check(tokens[:, 256:], 'perceiver/latents_2d')
    check(network.memory_position().expand(2, -1, -1), 'perceiver/pos')


def attention(network, features, memories, keys, pointers):
    """Run the memory attention on [B, N, C] features and full banks."""
    slots = memories.shape[1]
    return network.memory_attention(
        features,
        network.image_position(),
        MemoryTokens(
            keys,
            memories,
            torch.zeros(1, slots),
            pointers,
            pointers,
            torch.zeros(1, pointers.shape[1]),
        ),
    )


@pytest.mark.parametrize(('slots', 'pointers'), [(1, 1), (7, 16)])
def test_memory_attention(network, slots, pointers):
    length = 512 * slots + 4 * pointers
    memory = given(f'in/memory{slots}', (length, 1, 64)).transpose(0, 1)
    position = given(f'in/memory_pos{slots}', (length, 1, 64), 0.5).transpose(0, 1)
    tokens, pointer_tokens = memory.split((512 * slots, 4 * pointers), dim=1)
    keys = tokens + position[:, : 512 * slots]
    out = attention(
        network,
        given('in/curr', (4096, 1, 256)).transpose(0, 1),
        tokens.reshape(1, slots, 512, 64),
        keys.reshape(1, slots, 512, 64),
        pointer_tokens,
    )
    check(out.transpose(0, 1), f'memattn/{slots}mem_{pointers}ptr')


@pytest.mark.parametrize(
    ('name', 'frame', 'conditioning'),
    [
        ('f3_cond0', 3, (0,)),  # a bank that is not full yet
        ('f20_cond0', 20, (0,)),  # a full one
        ('f20_cond0_7_18', 20, (0, 7, 18)),  # more prompted frames than a graph has slots for
    ],
)
def test_bank_policy_and_memory_attention(network, name, frame, conditioning):
    bank = MemoryBank(BankShape(memories=9, pointers=18, conditioning=3, history=9))
    for t in range(frame):
        bank.add(t, conditioning=t in conditioning)
    view = bank.view(frame)
    slots = view.memory_slots[view.memory_valid > 0]
    memories = torch.cat(
        [given(f'bank/feat{bank.memories[slot].frame}', (1, 512, 64)) for slot in slots]
    )[None]
    pointers = torch.cat(
        [
            given(f'bank/ptr{bank.pointers[slot].frame}', (1, 256))
            for slot in view.pointer_slots[view.pointer_valid > 0]
        ]
    )[None]
    features = given('in/curr', (4096, 1, 256)).permute(1, 2, 0).reshape(1, 256, G, G)
    out = network.attend_memory(
        features,
        memories,
        torch.from_numpy(view.temporal_index)[None, : len(slots)],
        torch.ones(1, len(slots)),
        pointers,
        torch.ones(1, pointers.shape[1]),
        False,
    )
    check(out, f'bank/{name}')


PROMPTS = {
    'none_multi': ([(0, 0)], [PADDING], False),
    'point_multi': ([(300, 420.5)], [1], False),
    'box_single': ([(200, 180), (700, 640)], [2, 3], False),
    'pts3_single': ([(300, 420), (512, 100), (900, 800)], [1, 0, 1], False),
    'mask_point_single': ([(300, 420), (310, 600)], [1, 1], True),
}


def decoder_inputs():
    """Return features, and finer features of strides 8 and 4."""
    return (
        given('in/image_embed', (1, 256, G, G)),
        (given('in/s1', (1, 64, 128, 128)), given('in/s0', (1, 32, 256, 256))),
    )


@pytest.mark.parametrize('case', PROMPTS)
def test_mask_decoder_and_choice_of_mask(network, case):
    points, labels, has_mask = PROMPTS[case]
    features, high_resolution = decoder_inputs()
    # The padding of SAM, and masked points as in the graph, which must not change the result.
    points = torch.tensor([[*points, (0, 0), (0, 0), (5, 5)]], dtype=torch.float32)
    labels = torch.tensor([[*labels, PADDING, -2, -2]])
    masks, ious, score, pointers = (
        out.numpy()
        for out in network.decode_masks(
            features,
            points,
            labels,
            given('in/mask256', (1, 1, 256, 256), 4),
            torch.tensor([float(has_mask)]),
            *high_resolution,
        )
    )
    multimask = case.endswith('multi')
    chosen = choose_masks(masks, ious, score, pointers, np.array([multimask]))
    if multimask:
        check(masks[:, 1:], f'dec/{case}/low_res_multimasks')
        check(ious[:, 1:], f'dec/{case}/ious')
    else:
        check(chosen.masks[:, None], f'dec/{case}/low_res_multimasks')
        check(chosen.ious[:, None], f'dec/{case}/ious')
    check(chosen.masks[:, None], f'dec/{case}/low_res_mask')
    check(chosen.pointers, f'dec/{case}/obj_ptr')
    check(score, f'dec/{case}/score')


def test_prompt_encoder_and_all_candidates(network):
    points, labels, _ = PROMPTS['pts3_single']
    features, high_resolution = decoder_inputs()
    encoder = network.sam_prompt_encoder
    sparse = encoder.points(
        torch.tensor([[*points, (0, 0)]], dtype=torch.float32), torch.tensor([[*labels, PADDING]])
    )
    dense = encoder.dense(given('in/mask256', (1, 1, 256, 256), 4), torch.ones(1))
    dense_pe = encoder.pe_layer.dense(G)
    check(sparse, 'dec/prompt/sparse')
    check(dense, 'dec/prompt/dense')
    check(dense_pe[None], 'dec/prompt/dense_pe')
    raw = network.sam_mask_decoder(
        features, dense_pe, sparse, dense, high_resolution=high_resolution
    )
    check(raw.masks, 'dec/raw/masks4')
    check(raw.ious, 'dec/raw/iou4')
    check(raw.tokens, 'dec/raw/tokens')


def test_mask_prompt_as_output(network):
    features, high_resolution = decoder_inputs()
    mask = kit.module('inputs').smooth_mask_logits('open')[0, 0] > 0
    check(mask_to_logits(mask, R // 4)[None, None], 'dec/mask_as_output/low')
    prompt = downsample_mask(
        mask,
        network.mask_downsample.weight.numpy().reshape(4, 4),
        float(network.mask_downsample.bias),
    )
    outputs = network.decode_masks(
        features,
        torch.zeros(1, 2, 2),
        torch.full((1, 2), PADDING),
        torch.from_numpy(prompt)[None, None],
        torch.ones(1),
        *high_resolution,
    )
    chosen = choose_masks(*(out.numpy() for out in outputs), np.array([False]))
    check(chosen.pointers, 'dec/mask_as_output/obj_ptr')
    check(np.full((1, 1), MASK_PROMPT_LOGIT, np.float32), 'dec/mask_as_output/score')


def test_image_predictor(network):
    """The official predictor for single images resizes in floating point."""
    image = torch.from_numpy(
        np.stack(
            [
                resize_antialiased(channel, R, R)
                for channel in np.moveaxis(kit.frames()[0].astype(np.float32), 2, 0)
            ],
            axis=-1,
        )[None]
    )
    normalised = (image - network.image_mean) / network.image_std
    check(normalised.permute(0, 3, 1, 2), 'pre/image_frame0')
    _, features, *high_resolution = network.encode_image(image)
    about = kit.about()
    height, width = about['size']

    def decode(points, labels, previous=None):
        points = np.float32([*points, (0, 0)]) * (R / width, R / height)
        given = torch.zeros(1, 1, R // 4, R // 4) if previous is None else previous
        return [
            out.numpy()
            for out in network.decode_masks(
                features,
                torch.from_numpy(np.float32(points))[None],
                torch.tensor([[*labels, PADDING]]),
                given,
                torch.tensor([float(previous is not None)]),
                *high_resolution,
            )
        ]

    def check_prediction(masks, ious, name):
        check(masks, f'img/{name}/low')
        check(ious, f'img/{name}/ious')
        full = np.stack([enlarge(mask, height, width) for mask in masks])
        check(full, f'img/{name}/masks')

    masks, ious, *_ = decode([about['point']], [1])
    check_prediction(masks[0, 1:], ious[0, 1:], 'point')
    single = np.array([False])
    box = choose_masks(*decode(np.reshape(about['box'], (2, 2)), [2, 3]), single)
    check_prediction(box.masks, box.ious, 'box')
    previous = torch.from_numpy(box.masks)[None]
    refined = choose_masks(*decode(about['refine_pts'], about['refine_lbl'], previous), single)
    check_prediction(refined.masks, refined.ious, 'refine')
