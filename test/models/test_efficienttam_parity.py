# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Every component of all eight official configurations against the official code's outputs."""

from __future__ import annotations

import kit
import numpy as np
import pytest
import torch

from tam_ros import catalogue
from tam_ros.models.config import EfficientTAMConfig
from tam_ros.models.efficienttam import EfficientTAM
from tam_ros.models.layers import SinePosition
from tam_ros.models.memory_attention import MemoryTokens
from tam_ros.tracking.bank import BankShape, MemoryBank
from tam_ros.tracking.mask_prediction import choose_masks, stability
from tam_ros.tracking.prompts import downsample_mask, mask_to_logits

pytestmark = pytest.mark.skipif(
    not kit.KIT.is_dir(), reason='the parity kit (../shared/parity/efficienttam) is absent'
)

TOLERANCE = 1e-4
QUICK = 'efficienttam_ti_512x512'


@pytest.fixture(
    scope='module',
    params=[
        name if name == QUICK else pytest.param(name, marks=pytest.mark.slow)
        for name in kit.CONFIGS
    ],
)
def case(request):
    """Return a configuration's name, network with the kit's weights, and reference arrays."""
    name = request.param
    network = EfficientTAM(EfficientTAMConfig(**catalogue.model(name).config)).eval()
    state = {key: torch.from_numpy(value) for key, value in kit.state_dict(name).items()}
    network.load_state_dict(state, strict=True)
    with torch.inference_mode():
        yield name, network, kit.reference(name)


def given(name, what, shape, scale=1.0):
    """Return a test input of the kit as a tensor."""
    return torch.from_numpy(kit.tensor(name, what, shape, scale))


def needs(reference, key):
    """Skip arrays that the reduced references of s, s_1 and s_2 lack."""
    if key not in reference:
        pytest.skip(f'the kit has no {key} for this configuration')


def check(ours, reference, key, tolerance=TOLERANCE):
    """Compare with a stored array."""
    ours = ours.detach().numpy() if isinstance(ours, torch.Tensor) else ours
    assert kit.deviation(ours, reference[key]) < tolerance, key


def check_stats(ours, reference, key):
    """Compare the statistics of a whole map, of which the kit has only a sample."""
    mean, std, total = reference[key]
    got = kit.stats(ours.detach().numpy())
    assert abs(got[0] - mean) < TOLERANCE * std, key
    assert abs(got[1] - std) < TOLERANCE * std, key
    assert abs(got[2] - total) < TOLERANCE * total, key


def prompts(name, size):
    """Return the kit's prompts as points [1, P, 2] with the official padding, and labels."""
    r = size / 512
    raw = {
        'pts': ([(100, 150), (300.5, 200.25), (0, 0)], [1, 0, -1]),
        'box': ([(60, 90), (400, 333)], [2, 3]),
        'none': ([(0, 0)], [-1]),
        'mask': ([(256, 256)], [1]),
    }
    for what, (points, labels) in raw.items():
        mask = given(name, 'mask_prompt', (1, 1, size // 4, size // 4), 8)
        yield (
            what,
            torch.tensor([[*[(x * r, y * r) for x, y in points], (0.0, 0.0)]]),
            torch.tensor([[*labels, -1]]),
            mask,
            torch.tensor([float(what == 'mask')]),
        )


def test_state_dict_keys_and_shapes_are_the_official_ones(case):
    name, network, _ = case
    ours = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    assert ours == kit.keys(name)


def test_image_encoder(case):
    name, network, reference = case
    size = network.config.image_size
    seen = []
    hooks = [
        block.register_forward_hook(lambda _m, _i, out: seen.append(kit.stats(out.numpy())))
        for block in network.image_encoder.trunk.blocks
    ]
    features = network.image_encoder(given(name, 'image', (1, 3, size, size)))
    for hook in hooks:
        hook.remove()
    # 3e-5 distinguishes a LayerNorm epsilon of 1e-5 from the right one, 1e-6.
    check(kit.sparse(features[0, ::8].numpy(), 16), reference, 'enc/feat', 3e-5)
    check_stats(features, reference, 'enc/feat_stats')
    np.testing.assert_allclose(np.array(seen), reference['enc/blocks'], rtol=1e-4, atol=1e-4)
    needs(reference, 'enc/pos')
    position = SinePosition(256, size // 16)().T.reshape(256, size // 16, size // 16)
    check(kit.sparse(position[::8].numpy(), 8), reference, 'enc/pos')
    check_stats(position, reference, 'enc/pos_stats')


def test_prompt_encoder(case):
    name, network, reference = case
    needs(reference, 'prompt/dense_pe')
    encoder, size = network.sam_prompt_encoder, network.config.image_size
    for what, points, labels, mask, has_mask in prompts(name, size):
        check(encoder.points(points, labels)[0], reference, f'prompt/{what}/sparse')
        dense = encoder.dense(mask, has_mask)
        dense = dense.expand(1, 256, size // 16, size // 16)
        check(kit.sparse(dense[0, ::16].numpy(), 8), reference, f'prompt/{what}/dense')
        check_stats(dense, reference, f'prompt/{what}/dense_stats')
        if what == 'box':  # without the padding: the official `boxes` argument
            check(encoder.points(points, labels)[0, :2], reference, 'prompt/boxarg/sparse')
    dense_pe = encoder.pe_layer.dense(size // 16)
    check(kit.sparse(dense_pe[::16].numpy(), 8), reference, 'prompt/dense_pe')


def test_mask_decoder_and_choice_of_mask(case):
    name, network, reference = case
    needs(reference, 'dec/pts/masks4')
    size, grid = network.config.image_size, network.config.grid
    for what, points, labels, mask, has_mask in prompts(name, size):
        embedding = given(name, f'embed_{what}', (1, 256, grid, grid))
        encoder = network.sam_prompt_encoder
        raw = network.sam_mask_decoder(
            embedding,
            encoder.pe_layer.dense(grid),
            encoder.points(points, labels),
            encoder.dense(mask, has_mask),
        )
        check(kit.sparse(raw.masks[0].numpy(), 32), reference, f'dec/{what}/masks4')
        check(raw.ious[0], reference, f'dec/{what}/iou4')
        check(raw.tokens[0], reference, f'dec/{what}/tokens')
        check(raw.score[0], reference, f'dec/{what}/score')
        for index in range(4):
            mean, std, total = kit.stats(raw.masks[0, index].numpy())
            expected = reference[f'dec/{what}/masks4_stats'][index]
            assert abs(mean - expected[0]) < TOLERANCE * expected[1]
            assert abs(std - expected[1]) < TOLERANCE * expected[1]
            assert abs(total - expected[2]) < TOLERANCE * expected[2]
        stable_share = stability(raw.masks[:, 0].numpy())
        np.testing.assert_allclose(stable_share, reference[f'dec/{what}/stability'][0], atol=1e-3)

        # The graph pads its points with masked ones, which must not change the result.
        hidden = torch.full((1, 6), -2)
        padded = torch.cat((points, torch.zeros(1, 6, 2)), 1), torch.cat((labels, hidden), 1)
        masks, ious, score, pointers = (
            out.numpy() for out in network.decode_masks(embedding, *padded, mask, has_mask)
        )
        for multimask in (True, False):
            key = f'heads/{what}/{int(multimask)}'
            chosen = choose_masks(masks, ious, score, pointers, np.array([multimask]))
            check(kit.sparse(chosen.masks, 32), reference, f'{key}/low')
            high = torch.nn.functional.interpolate(
                torch.from_numpy(chosen.masks[:, None]), (size, size), mode='bilinear'
            )
            check(kit.sparse(high[0].numpy(), 32), reference, f'{key}/high')
            check(chosen.pointers[0], reference, f'{key}/ptr')
            check(chosen.scores, reference, f'{key}/score')
            expected = reference[f'{key}/iou']
            check(chosen.ious, {'iou': expected.max(keepdims=True)}, 'iou')


def test_mask_prompt_as_output(case):
    name, network, reference = case
    needs(reference, 'maskout/low')
    size, grid = network.config.image_size, network.config.grid
    vis = given(name, 'vis', (grid * grid, 1, 256)).permute(1, 2, 0).reshape(1, 256, grid, grid)
    mask = kit.fill().ellipse(size, size, size // 2, size // 3, size // 5, size // 6)
    low = mask_to_logits(mask, size // 4)
    check(kit.sparse(low[None], 32), reference, 'maskout/low')
    prompt = downsample_mask(
        mask,
        network.mask_downsample.weight.numpy().reshape(4, 4),
        float(network.mask_downsample.bias),
    )
    masks, ious, score, pointers = (
        out.numpy()
        for out in network.decode_masks(
            vis,
            torch.zeros(1, 2, 2),
            torch.tensor([[-1, -1]]),
            torch.from_numpy(prompt)[None, None],
            torch.ones(1),
        )
    )
    chosen = choose_masks(masks, ious, score, pointers, np.array([False]))
    check(chosen.pointers[0], reference, 'maskout/ptr')
    assert reference['maskout/score'] == 10


def test_memory_encoder(case):
    name, network, reference = case
    needs(reference, 'memenc/0/feat')
    size, grid = network.config.image_size, network.config.grid
    vis = given(name, 'vis', (grid * grid, 1, 256)).permute(1, 2, 0).reshape(1, 256, grid, grid)
    logits = given(name, 'mask_logits', (1, 1, size // 4, size // 4), 6)
    for prompted in (0, 1):
        memory = network.encode_memory(vis, logits, torch.tensor([float(prompted)]))
        memory = memory.transpose(1, 2).reshape(64, grid, grid)
        check(kit.sparse(memory.numpy(), 8), reference, f'memenc/{prompted}/feat')
        check_stats(memory, reference, f'memenc/{prompted}/feat_stats')
    position = network.memory_position().T.reshape(64, grid, grid)
    check(kit.sparse(position.numpy(), 8), reference, 'memenc/pos')


@pytest.mark.parametrize(
    ('key', 'frames', 'pointers', 'batch'),
    [
        ('m1p1', 1, 1, 1),  # one memory: the pooled variants are exact here
        ('m7p16', 7, 16, 1),  # a full bank
        ('m2p0', 2, 0, 1),  # no pointers
        ('m3p4_b2', 3, 4, 2),  # two objects
    ],
)
def test_memory_attention(case, key, frames, pointers, batch):
    name, network, reference = case
    needs(reference, f'memattn/{key}/out')
    tokens = network.config.grid**2
    length = frames * tokens + 4 * pointers
    current = given(name, f'curr_{key}', (tokens, batch, 256)).transpose(0, 1)
    memory = given(name, f'mem_{key}', (length, batch, 64)).transpose(0, 1)
    position = given(name, f'mpos_{key}', (length, batch, 64), 0.7).transpose(0, 1)
    keys = memory + position

    def spatial(x):
        return x[:, : frames * tokens].reshape(batch, frames, tokens, 64)

    out = network.memory_attention(
        current,
        network.image_position(),
        MemoryTokens(
            spatial(keys),
            spatial(memory),
            torch.zeros(batch, frames),
            keys[:, frames * tokens :],
            memory[:, frames * tokens :],
            torch.zeros(batch, 4 * pointers),
        ),
        pooled=network.config.pooled and frames > 1,
    )
    out = out.transpose(0, 1)
    check(out[:: max(1, tokens // 64), :, ::2], reference, f'memattn/{key}/out')
    check_stats(out, reference, f'memattn/{key}/stats')


@pytest.mark.parametrize(
    ('key', 'frame', 'conditioning', 'recent', 'twice', 'without'),
    [
        # A full bank. Frame 25 lies ahead and has a memory but no pointer, as never in a stream.
        # The kit holds frame 12 both as prompted and as tracked: its pointer counts twice.
        ('fwd', 20, (0, 12, 25), range(1, 20), (12,), ()),
        # A bank that is not full yet.
        ('early', 3, (0,), (1, 2), (), ()),
        # The official loop over pointers ends at the length of the video that is given, 4.
        ('short', 5, (0,), (1, 2, 3, 4), (), (1, 2, 3, 4)),
    ],
)
def test_bank_policy_and_memory_attention(case, key, frame, conditioning, recent, twice, without):
    name, network, reference = case
    needs(reference, f'bank/{key}/out')
    grid = network.config.grid
    bank = MemoryBank(BankShape(memories=9, pointers=18, conditioning=3, history=4))
    for t in sorted({*conditioning, *recent}):
        bank.add(t, conditioning=t in conditioning, time=t)
    view = bank.view(frame)

    def tokens(what, shape, scale=1.0):
        return given(name, what, shape, scale).flatten(2).transpose(1, 2)

    position = tokens('bank_pos', (1, 64, grid, grid), 0.7)
    slots = view.memory_slots[view.memory_valid > 0]
    pointer_slots = view.pointer_slots[view.pointer_valid > 0]
    memory = torch.stack(
        [
            tokens(f'bank_f{bank.memories[slot].frame}', (1, 64, grid, grid)).bfloat16().float()
            for slot in slots
        ],
        1,
    )
    temporal = network.maskmem_tpos_enc[view.temporal_index[: len(slots)].tolist(), 0]
    frames = [
        bank.pointers[slot].frame
        for slot in pointer_slots
        if bank.pointers[slot].frame not in without
    ]
    pointers = torch.cat([given(name, f'bank_p{t}', (1, 256)) for t in (*frames, *twice)])
    pointers = pointers.reshape(1, -1, 64)
    out = network.memory_attention(
        given(name, 'vis', (grid * grid, 1, 256)).transpose(0, 1),
        network.image_position(),
        MemoryTokens(
            memory + position + temporal,
            memory,
            torch.zeros(1, len(slots)),
            pointers,
            pointers,
            torch.zeros(1, pointers.shape[1]),
        ),
        pooled=network.config.pooled and len(slots) > 1,
    )
    out = out.transpose(1, 2).reshape(1, 256, grid, grid)
    check(kit.sparse(out[0, ::4].numpy(), 8), reference, f'bank/{key}/out')


def test_frame_without_memory(case):
    name, network, reference = case
    needs(reference, 'bank/init/out')
    grid = network.config.grid
    vis = given(name, 'vis', (grid * grid, 1, 256)).permute(1, 2, 0).reshape(1, 256, grid, grid)
    plain = vis + network.no_mem_embed.reshape(1, -1, 1, 1)
    check(kit.sparse(plain[0, ::16].numpy(), 8), reference, 'bank/init/out')
