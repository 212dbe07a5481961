# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Both families compute what the official code does, on the fixture of this repository.

The tests in `models/` and `tracking/` compare more configurations with larger references, where
those are present.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from parity_formulas import FOLDER, state_dict, tensor

from tam_ros import catalogue
from tam_ros.model_files import PADDING
from tam_ros.models.build import build_network
from tam_ros.models.memory_attention import MemoryTokens
from tam_ros.tracking import Prompt, Tracker, TrackerOptions
from tam_ros.tracking.frame_result import enlarge
from tam_ros.tracking.network_input import resize_to_network

TOLERANCE = 1e-4  # relative; 1e-6 of noise on the inputs changes the outputs by up to 1e-5


class Reference:
    """One file of the fixture, and a network with its weights."""

    def __init__(self, family: str, name: str, folder) -> None:
        self.family = family
        self.name = name
        with np.load(FOLDER / f'{name}.npz') as arrays:
            self.arrays = {key: arrays[key] for key in arrays.files}
        self.salt = str(self.arrays['salt'])
        self.network = build_network(catalogue.model(name), 'untrained')
        shapes = {key: tuple(value.shape) for key, value in self.network.state_dict().items()}
        state = {
            key: torch.from_numpy(value)
            for key, value in state_dict(family, shapes, self.salt).items()
        }
        self.network.load_state_dict(state)
        self.checkpoint = folder / f'{name}.pt'
        torch.save({'model': state}, self.checkpoint)

    def input(self, name: str, shape: tuple[int, ...], scale: float = 1.0) -> torch.Tensor:
        return torch.from_numpy(tensor(self.family, name, shape, self.salt, scale))

    def open_tracker(self) -> Tracker:
        return Tracker.open(
            self.name,
            self.checkpoint,
            'torch',
            options=TrackerOptions(refined_frames_condition=False),
        )


@pytest.fixture(scope='module')
def efficienttam(tmp_path_factory):
    with torch.inference_mode():
        yield Reference('efficienttam', 'efficienttam_ti_512x512', tmp_path_factory.mktemp('eff'))


@pytest.fixture(scope='module')
def edgetam(tmp_path_factory):
    with torch.inference_mode():
        yield Reference('edgetam', 'edgetam', tmp_path_factory.mktemp('edge'))


def check(ours, reference, tolerance=TOLERANCE):
    """Compare with an array, relative to its deviation."""
    ours = np.asarray(ours)
    assert ours.shape == reference.shape
    scale = reference.std() if reference.size > 1 else np.abs(reference).max()
    assert np.abs(ours - reference).max() < tolerance * scale


def check_stats(ours, reference):
    """Compare mean, deviation and sum of magnitudes of a whole array."""
    ours = np.asarray(ours, np.float64)
    mean, deviation, total = reference
    assert abs(ours.mean() - mean) < TOLERANCE * deviation
    assert abs(ours.std(ddof=1) - deviation) < TOLERANCE * deviation
    assert abs(np.abs(ours).sum() - total) < TOLERANCE * total


def sample(x, side):
    """Sample the last two axes as the file does."""
    x = np.asarray(x)
    step = x.shape[-1] // side
    return x[..., step // 2 :: step, step // 2 :: step]


def test_efficienttam_image_encoder(efficienttam):
    features = efficienttam.network.image_encoder(efficienttam.input('image', (1, 3, 512, 512)))
    check(sample(features[0, ::8], 16), efficienttam.arrays['enc/feat'], 3e-5)
    check_stats(features, efficienttam.arrays['enc/feat_stats'])


def test_efficienttam_mask_decoder(efficienttam):
    network, arrays = efficienttam.network, efficienttam.arrays
    encoder = network.sam_prompt_encoder
    decoded = network.sam_mask_decoder(
        efficienttam.input('embed_pts', (1, 256, 32, 32)),
        encoder.pe_layer.dense(32),
        encoder.points(
            torch.tensor([[(100, 150), (300.5, 200.25), (0, 0), (0, 0)]]),
            torch.tensor([[1, 0, PADDING, PADDING]]),
        ),
        encoder.dense(torch.zeros(1, 1, 128, 128), torch.zeros(1)),
    )
    check(sample(decoded.masks[0], 32), arrays['dec/pts/masks4'])
    for mask, stats in zip(decoded.masks[0], arrays['dec/pts/masks4_stats'], strict=True):
        check_stats(mask, stats)
    check(decoded.ious[0], arrays['dec/pts/iou4'])
    check(decoded.tokens[0], arrays['dec/pts/tokens'])
    check(decoded.score[0], arrays['dec/pts/score'])


def test_efficienttam_memory_encoder(efficienttam):
    arrays = efficienttam.arrays
    features = efficienttam.input('vis', (1024, 1, 256)).permute(1, 2, 0).reshape(1, 256, 32, 32)
    logits = efficienttam.input('mask_logits', (1, 1, 128, 128), 6)
    for prompted in (0, 1):
        memory = efficienttam.network.encode_memory(
            features, logits, torch.tensor([float(prompted)])
        )
        memory = memory.transpose(1, 2).reshape(64, 32, 32)
        check_stats(memory, arrays[f'memenc/{prompted}/feat_stats'])
        if not prompted:
            check(sample(memory, 8), arrays['memenc/0/feat'])


def test_efficienttam_memory_attention(efficienttam):
    """A full bank: 7 memories and 16 pointers."""
    network, arrays = efficienttam.network, efficienttam.arrays
    length, memories = 7 * 1024 + 4 * 16, 7 * 1024
    current = efficienttam.input('curr_m7p16', (1024, 1, 256)).transpose(0, 1)
    memory = efficienttam.input('mem_m7p16', (length, 1, 64)).transpose(0, 1)
    keys = memory + efficienttam.input('mpos_m7p16', (length, 1, 64), 0.7).transpose(0, 1)
    conditioned = network.memory_attention(
        current,
        network.image_position(),
        MemoryTokens(
            keys[:, :memories].reshape(1, 7, 1024, 64),
            memory[:, :memories].reshape(1, 7, 1024, 64),
            torch.zeros(1, 7),
            keys[:, memories:],
            memory[:, memories:],
            torch.zeros(1, 64),
        ),
    ).transpose(0, 1)
    check(conditioned[::16, :, ::2], arrays['memattn/m7p16/out'])
    check_stats(conditioned, arrays['memattn/m7p16/stats'])


def test_efficienttam_tracks_two_objects(efficienttam):
    arrays = efficienttam.arrays
    prompts = [Prompt.points(1, [[80, 80]], [1]), Prompt.box(2, [198, 118, 256, 182])]
    seen = 0
    with efficienttam.open_tracker() as tracker:
        for t, image in enumerate(arrays['frames']):
            result = tracker.step(image, t / 10, prompts if t == 0 else ())
            scores = arrays['e2e/A/2_propagate/score'][t]
            for item, bits, score in zip(
                result.objects, arrays['e2e/A/2_propagate/bits'][t], scores, strict=True
            ):
                mask = np.unpackbits(bits)[: item.mask.size].reshape(item.mask.shape) > 0
                union = np.count_nonzero(item.mask | mask)
                seen += union > 1000
                assert np.count_nonzero(item.mask & mask) >= 0.999 * union, (t, item.id)
                assert abs(item.score_logit - score) < 0.02, (t, item.id)
    assert seen == 6, 'the weights are random: some objects are not found on some frames'


def check_sample(edgetam, name, ours):
    """Compare a sample of an array, and sums over the whole array."""
    arrays = edgetam.arrays
    expected, ours = arrays[name], np.asarray(ours)
    assert ours.shape == tuple(arrays.get(f'{name}/shape', ours.shape))
    flat = ours.reshape(-1)
    if flat.size > expected.size:
        index = np.arange(expected.size, dtype=np.uint64) * np.uint64(2654435761)
        flat = flat[(index % np.uint64(flat.size)).astype(np.int64)]
    _, magnitudes, squares, low, high = arrays[f'{name}/stats']
    largest = max(abs(low), abs(high))
    assert np.abs(flat - expected.reshape(-1)).max() < TOLERANCE * largest, name
    whole = ours.astype(np.float64)
    assert abs(np.abs(whole).sum() / magnitudes - 1) < TOLERANCE, name
    assert abs((whole**2).sum() / squares - 1) < TOLERANCE, name


def test_edgetam_image_encoder(edgetam):
    image = resize_to_network(edgetam.arrays['frames'][0], 1024, 'pil')
    features, _, stride_8, stride_4 = edgetam.network.encode_image(
        torch.from_numpy(np.array(image[None]))
    )
    for name, value in (('fpn2', features), ('s1', stride_8), ('s0', stride_4)):
        check_sample(edgetam, f'enc/{name}', value)


def test_edgetam_mask_decoder(edgetam):
    encoder = edgetam.network.sam_prompt_encoder
    points = torch.tensor([[(300.0, 420), (512, 100), (900, 800), (0, 0)]])
    labels = torch.tensor([[1, 0, 1, PADDING]])
    finer = tuple(
        edgetam.input(f'in/{name}', (1, channels, side, side))
        for name, channels, side in (('s1', 64, 128), ('s0', 32, 256))
    )
    features = edgetam.input('in/image_embed', (1, 256, 64, 64))
    mask = edgetam.input('in/mask256', (1, 1, 256, 256), 4)
    decoded = edgetam.network.sam_mask_decoder(
        features,
        encoder.pe_layer.dense(64),
        encoder.points(points, labels),
        encoder.dense(mask, torch.ones(1)),
        high_resolution=finer,
    )
    check_sample(edgetam, 'dec/raw/masks4', decoded.masks)
    check_sample(edgetam, 'dec/raw/iou4', decoded.ious)
    check_sample(edgetam, 'dec/raw/tokens', decoded.tokens)
    # Without the mask prompt: the score, and the pointer of the candidate for several clicks.
    *_, score, pointers = edgetam.network.decode_masks(
        features, points, labels, mask, torch.zeros(1), *finer
    )
    check_sample(edgetam, 'dec/pts3_single/score', score)
    check_sample(edgetam, 'dec/pts3_single/obj_ptr', pointers[:, 0])


def test_edgetam_memory_encoder(edgetam):
    network = edgetam.network
    y, x = np.mgrid[0:1024, 0:1024].astype(np.float64)
    distance = np.hypot(x - 280, y - 320)
    logits = torch.from_numpy(np.clip((220 - distance) / 60, -4, 4).astype(np.float32))[None, None]
    features = edgetam.input('in/pix_feat', (1, 256, 64, 64))
    for name, mask in (('0', logits.sigmoid()), ('1', (logits > 0).float())):
        memory = network.spatial_perceiver(network.memory_encoder(features, mask * 20 - 10))
        check_sample(edgetam, f'memenc/latents_binarize{name}', memory)


def test_edgetam_memory_attention(edgetam):
    """A full bank: 7 memories and 16 pointers."""
    network, tokens = edgetam.network, 7 * 512
    length = tokens + 4 * 16
    memory = edgetam.input('in/memory7', (length, 1, 64)).transpose(0, 1)
    position = edgetam.input('in/memory_pos7', (length, 1, 64), 0.5).transpose(0, 1)
    pointers = memory[:, tokens:]
    conditioned = network.memory_attention(
        edgetam.input('in/curr', (4096, 1, 256)).transpose(0, 1),
        network.image_position(),
        MemoryTokens(
            (memory + position)[:, :tokens].reshape(1, 7, 512, 64),
            memory[:, :tokens].reshape(1, 7, 512, 64),
            torch.zeros(1, 7),
            pointers,
            pointers,
            torch.zeros(1, 64),
        ),
    )
    check_sample(edgetam, 'memattn/7mem_16ptr', conditioned.transpose(0, 1))


def test_edgetam_tracks_two_objects(edgetam):
    arrays = edgetam.arrays
    mask = np.zeros((240, 320), bool)
    mask[81:140, 211:270] = True
    prompts = [Prompt.points(1, [[70, 80]], [1]), Prompt.mask(2, mask)]
    with edgetam.open_tracker() as tracker:
        for t, image in enumerate(arrays['frames']):
            result = tracker.step(image, t / 10, prompts if t == 0 else ())
            for item in result.objects:
                name = f'vid_two/f{t:02}/o{item.id - 1}'
                expected = arrays[f'{name}/mask']
                logits = enlarge(item.logits, 240, 320)[::8, ::8]
                assert np.abs(logits - expected).max() < TOLERANCE * np.abs(expected).max(), name
                assert abs(item.area - arrays[f'{name}/area'][0]) <= 3, name
                assert abs(item.score_logit - arrays[f'{name}/score'][0]) < 32 * TOLERANCE, name
