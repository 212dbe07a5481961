# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""CLIP: the published sizes, every form in which its weights are published, and the graphs."""

from __future__ import annotations

import io
import pickle
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from tam_ros import catalogue
from tam_ros.export.onnx import export_model
from tam_ros.loading import open_graphs
from tam_ros.model_files import WeightsError, read_spec
from tam_ros.models.build import build_network, read_checkpoint
from tam_ros.models.clip import CLIP, ClipConfig, TextEncoder
from tam_ros.models.clip_resnet import AttentionPool
from tam_ros.tensorrt.builder import BuildSettings, build_engine

# Parameters of the published models.
SIZES = {
    'clip_vit_b32': 151_277_313,
    'clip_vit_b16': 149_620_737,
    'clip_vit_l14': 427_616_513,
    'clip_rn50': 102_007_137,
    'clip_rn50x16': 290_979_217,
}
# Operators of dynamic shapes, which static graphs must not contain.
DYNAMIC = {'Shape', 'Size', 'NonZero', 'Loop', 'If', 'Scan', 'Range', 'Unique'}
VIT = ClipConfig(
    embed_dim=12,
    vision_width=16,
    vision_layers=2,
    patch_size=4,
    grid=3,
    text_width=24,
    text_layers=2,
    context_length=9,
    vocabulary=30,
)
RESNET = ClipConfig(
    embed_dim=12, vision_width=8, resnet_layers=(1, 2, 1, 1), grid=1, text_width=0, text_layers=0
)


def any_clip(**config):
    return catalogue.Model('clip_any', 'clip', 'a test', 'MIT', config, kind='clip')


def random_network(config):
    torch.manual_seed(1)
    network = CLIP(config).eval()
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if value.is_floating_point() and value.ndim < 2:
                value.add_(0.1 * torch.randn_like(value))
            if name.endswith('running_var'):
                value.abs_()
    return network


def vit_inputs(network, count):
    """Return patches, positions and validity with `count` places of all of them in use."""
    config = network.config
    generator = torch.Generator().manual_seed(2)
    patches = torch.zeros(1, config.places, 3 * config.patch_size**2)
    position = torch.zeros(1, config.places, config.grid**2)
    for one in (patches, position):
        one[:, :count] = torch.randn(one[:, :count].shape, generator=generator)
    return patches, position, (torch.arange(config.places) < count).long()[None]


@pytest.mark.parametrize('name', SIZES)
def test_the_published_models_have_as_many_parameters(name, monkeypatch):
    # Their memory is never touched.
    monkeypatch.setattr(torch, 'randn', torch.empty)
    for kind in (nn.Linear, nn.Conv2d, nn.Embedding):
        monkeypatch.setattr(kind, 'reset_parameters', lambda self: None)
    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, '__mul__', lambda self, factor: self)
        network = CLIP(ClipConfig(**catalogue.model(name).config))
    assert sum(value.numel() for value in network.parameters()) == SIZES[name]


@pytest.mark.parametrize('config', [VIT, RESNET], ids=['vit', 'resnet'])
def test_the_architecture_is_read_from_the_shapes(config, tmp_path):
    network = random_network(config)
    torch.save(network.state_dict(), tmp_path / 'clip.pt')
    found = build_network(any_clip(), tmp_path / 'clip.pt')
    assert found.config == config
    for name, value in network.state_dict().items():
        assert torch.equal(found.state_dict()[name], value), name


def test_unused_places_change_nothing(tmp_path):
    few, many = (
        random_network(ClipConfig(**{**vars(VIT), 'tokens': tokens})) for tokens in (10, 25)
    )
    many.load_state_dict(few.state_dict())
    with torch.inference_mode():
        patches, position, valid = vit_inputs(few, 10)
        one = few.visual(patches, position, valid)
        wide = vit_inputs(many, 0)
        for target, source in zip(wide, (patches, position, valid), strict=True):
            target[:, :10] = source
        wide[0][:, 10:] = 5
        other = many.visual(*wide)
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(b[:, :10], a)


# --- the forms in which weights are published ---


def as_transformers(state):
    """Return the tensors under the names and in the shapes of `transformers`."""
    tops = {
        'visual.class_embedding': 'vision_model.embeddings.class_embedding',
        'visual.conv1.weight': 'vision_model.embeddings.patch_embedding.weight',
        'visual.positional_embedding': 'vision_model.embeddings.position_embedding.weight',
        'token_embedding.weight': 'text_model.embeddings.token_embedding.weight',
        'positional_embedding': 'text_model.embeddings.position_embedding.weight',
    }
    words = {
        'attn.out_proj': 'self_attn.out_proj',
        'mlp.c_fc': 'mlp.fc1',
        'mlp.c_proj': 'mlp.fc2',
        'ln_1': 'layer_norm1',
        'ln_2': 'layer_norm2',
        'visual.ln_pre': 'vision_model.pre_layrnorm',
        'visual.ln_post': 'vision_model.post_layernorm',
        'ln_final': 'text_model.final_layer_norm',
        'visual.transformer.resblocks': 'vision_model.encoder.layers',
    }
    out = {'text_model.embeddings.position_ids': torch.arange(9)[None]}
    for name, value in state.items():
        if name in ('visual.proj', 'text_projection'):
            out[{'visual.proj': 'visual_projection'}.get(name, name) + '.weight'] = value.T
        elif 'in_proj' in name:
            tower = name.replace('visual.transformer', 'vision_model').replace(
                'transformer.', 'text_model.'
            )
            stem, kind = tower.replace('resblocks', 'encoder.layers').split('attn.in_proj_')
            for letter, part in zip('qkv', value.chunk(3), strict=True):
                out[f'{stem}self_attn.{letter}_proj.{kind}'] = part
        else:
            new = tops.get(name, name)
            if new == name:
                for ours, theirs in words.items():
                    new = new.replace(ours, theirs)
                if new.startswith('transformer.resblocks'):
                    new = new.replace('transformer.resblocks', 'text_model.encoder.layers')
            out[new] = value
    return {name: value.contiguous() for name, value in out.items()}


class Tree(nn.Module):
    """Modules that hold tensors by dotted names, and a program that must not run."""

    def __init__(self, state):
        super().__init__()
        for name, value in state.items():
            *path, last = name.split('.')
            node = self
            for part in path:
                if not hasattr(node, part):
                    node.add_module(part, Tree({}))
                node = getattr(node, part)
            if value.is_floating_point():
                node.register_parameter(last, nn.Parameter(value, requires_grad=False))
            else:
                node.register_buffer(last, value)

    def forward(self, x):
        return x + 1


def write_archive(state, path):
    """Write a TorchScript archive as OpenAI's are: traced, in half precision."""
    halved = {name: x.half() if x.is_floating_point() else x for name, x in state.items()}
    halved |= {'input_resolution': torch.tensor(12), 'context_length': torch.tensor(9)}
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # tracing is deprecated
        torch.jit.trace(Tree(halved), torch.zeros(1)).save(path)


def test_an_archive_of_openai_is_read_without_executing_it(tmp_path, monkeypatch):
    state = random_network(VIT).state_dict()
    write_archive(state, str(tmp_path / 'ViT.pt'))
    for name in ('load', 'jit.load'):
        monkeypatch.setattr(f'torch.{name}', None)
    found = build_network(any_clip(), tmp_path / 'ViT.pt').state_dict()
    assert found.keys() == state.keys()
    for name, value in state.items():
        assert torch.equal(found[name], value.half().float()), name


def test_an_archive_of_a_resnet(tmp_path):
    state = random_network(RESNET).state_dict()
    write_archive(state, str(tmp_path / 'RN.pt'))
    found = build_network(any_clip(), tmp_path / 'RN.pt').state_dict()
    assert all(torch.equal(found[name], value.half().float()) for name, value in state.items())


def test_the_names_of_transformers(tmp_path):
    state = random_network(VIT).state_dict()
    theirs = as_transformers(state)
    assert not set(theirs) & set(state) - {'logit_scale'}
    from safetensors.torch import save_file

    save_file(theirs, tmp_path / 'model.safetensors')
    torch.save(theirs, tmp_path / 'pytorch_model.bin')
    for name in ('model.safetensors', 'pytorch_model.bin'):
        found = build_network(any_clip(), tmp_path / name).state_dict()
        assert all(torch.equal(found[key], value) for key, value in state.items())


def test_arrays_of_an_image_tower_alone(tmp_path):
    state = random_network(VIT).state_dict()
    np.savez(
        tmp_path / 'visual.npz',
        **{name: x.numpy() for name, x in state.items() if name.startswith('visual.')},
    )
    network = build_network(any_clip(), tmp_path / 'visual.npz')
    assert network.config.text_width == 0 and not hasattr(network, 'transformer')


def replaced(source: Path, target: Path, name: str, data: bytes):
    """Copy an archive with other contents of the member whose path ends with a name."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, 'w') as new:
        for item in old.namelist():
            new.writestr(item, data if item.endswith(name) else old.read(item))


class Hostile:
    def __reduce__(self):
        return eval, ("open('/tmp/tam_ros_executed', 'w')",)


def test_an_archive_that_names_other_functions_is_refused(tmp_path):
    write_archive(random_network(VIT).state_dict(), str(tmp_path / 'ViT.pt'))
    replaced(tmp_path / 'ViT.pt', tmp_path / 'bad.pt', '/data.pkl', pickle.dumps(Hostile(), 2))
    with pytest.raises(WeightsError, match='eval, which weights do not need'):
        read_checkpoint(tmp_path / 'bad.pt')


def test_damaged_archives_are_refused(tmp_path):
    write_archive(random_network(VIT).state_dict(), str(tmp_path / 'ViT.pt'))
    whole = (tmp_path / 'ViT.pt').read_bytes()
    (tmp_path / 'cut.pt').write_bytes(whole[: len(whole) // 2])
    replaced(tmp_path / 'ViT.pt', tmp_path / 'short.pt', '/data/0', b'1234')
    replaced(tmp_path / 'ViT.pt', tmp_path / 'long.pt', '/data/0', bytes(1 << 20))
    replaced(tmp_path / 'ViT.pt', tmp_path / 'number.pt', '/data.pkl', pickle.dumps(5, 2))
    for name in ('cut.pt', 'short.pt', 'long.pt', 'number.pt'):
        with pytest.raises(WeightsError, match='cannot be read'):
            read_checkpoint(tmp_path / name)


@pytest.mark.parametrize(
    ('changes', 'says'),
    [
        ({'visual.ln_post.bias': None}, 'missing: visual.ln_post.bias'),
        ({'visual.proj': torch.zeros(1 << 20, 1)}, 'vision_width is 1048576, not 0 to 4096'),
        ({'more': torch.zeros(1)}, 'unknown: more'),
    ],
)
def test_checkpoints_of_something_else_are_refused(changes, says, tmp_path):
    state = random_network(VIT).state_dict() | changes
    torch.save({name: x for name, x in state.items() if x is not None}, tmp_path / 'clip.pt')
    with pytest.raises(WeightsError, match=says):
        build_network(any_clip(), tmp_path / 'clip.pt')


def test_a_name_of_the_catalogue_refuses_another_size(tmp_path):
    torch.save(random_network(VIT).state_dict(), tmp_path / 'clip.pt')
    monkey = catalogue.Model('clip_b', 'clip', '', 'MIT', {'vision_layers': 3}, kind='clip')
    with pytest.raises(WeightsError, match='do not belong to clip_b; missing'):
        build_network(monkey, tmp_path / 'clip.pt')


# --- graphs ---


@pytest.mark.parametrize('config', [VIT, RESNET], ids=['vit', 'resnet'])
def test_the_graphs_compute_the_network(config, tmp_path, monkeypatch):
    monkeypatch.setenv('TAM_ROS_CACHE', str(tmp_path / 'cache'))
    network = random_network(config)
    torch.save(network.state_dict(), tmp_path / 'clip.pt')
    folder = export_model(any_clip(), tmp_path / 'clip.pt', tmp_path / 'graphs')
    spec = read_spec(folder)
    assert spec.kind == 'clip' and len(spec.graphs) == (2 if config.text_width else 1)
    for path in folder.glob('*.onnx'):
        kinds = {node.op_type for node in onnx.load(path).graph.node}
        assert not kinds & DYNAMIC, path.name
    generator = torch.Generator().manual_seed(3)
    if config.resnet_layers:
        side = config.window_size
        inputs = {'image': torch.randn(2, 3, side, side, generator=generator)}
    else:
        names = ('patches', 'position', 'valid')
        inputs = dict(zip(names, vit_inputs(network, 20), strict=True))
    with torch.inference_mode():
        wanted = network.visual(*inputs.values())
    for precision, limit in (('fp32', 1e-4), ('fp16', 2e-2)):
        with open_graphs(any_clip(), folder, precision=precision) as graphs:
            found = graphs.sessions['image_encoder'].run(
                {name: value.numpy() for name, value in inputs.items()}
            )
            for name, value in zip(('features', 'keys'), wanted, strict=True):
                difference = np.abs(found[name] - value.numpy()).max()
                assert difference <= limit * value.abs().max(), (precision, name)
            if config.text_width:
                tokens = torch.randint(0, 29, (3, 9), generator=generator)
                tokens[[0, 1, 2], [2, 8, 5]] = 29
                texts = graphs.sessions['text_encoder'].run({'tokens': tokens.numpy()})
                with torch.inference_mode():
                    expected = TextEncoder(network)(tokens)
                np.testing.assert_allclose(texts['text_features'], expected, atol=1e-4)


@pytest.mark.parametrize('config', [VIT, RESNET], ids=['vit', 'resnet'])
def test_the_builder_of_tensorrt_takes_the_graphs(config, tmp_path):
    pytest.importorskip('tensorrt_rtx_libs', reason='TensorRT for RTX is not installed')
    trt = pytest.importorskip('tensorrt_rtx_bindings')
    torch.save(random_network(config).state_dict(), tmp_path / 'clip.pt')
    folder = export_model(any_clip(), tmp_path / 'clip.pt', tmp_path / 'graphs')
    for path in folder.glob('*_fp16.onnx'):
        built = build_engine(trt, path.stem, path.read_bytes(), BuildSettings(max_batch=2))
        assert built.plan, path.name


def test_what_follows_the_end_of_a_text_does_not_matter():
    network = random_network(VIT)
    tokens = torch.tensor([[28, 3, 4, 29, 0, 0, 0, 0, 0], [28, 3, 4, 29, 7, 8, 9, 1, 2]])
    with torch.inference_mode():
        one, other = TextEncoder(network)(tokens)
    torch.testing.assert_close(one, other)
    tokens[1, 1] = 5
    with torch.inference_mode():
        assert (TextEncoder(network)(tokens)[1] - one).abs().max() > 1e-3


# --- the attention pool of the reference ---


def test_the_opened_attention_pool_equals_the_reference(shared_parity):
    with np.load(shared_parity / 'others' / 'maskclip' / 'open.npz') as arrays:
        kit = {name: arrays[name] for name in arrays.files if name.startswith(('rn_', 'text'))}
    pool = AttentionPool(7, 64, 32)
    state = pool.state_dict()
    for name, value in state.items():
        generator = np.random.RandomState(zlib.crc32(f'visual.attnpool.{name}'.encode()))
        numbers = generator.standard_normal(value.numel()).reshape(value.shape)
        scale = 0.1 if name.endswith('bias') else value[0].numel() ** -0.5
        state[name] = torch.from_numpy((scale * numbers).astype(np.float32))
    pool.load_state_dict(state)
    with torch.inference_mode():
        features, _ = pool(torch.from_numpy(kit['rn_feature']))
        attended = pool.attended(torch.from_numpy(kit['rn_feature']), int(kit['rn_heads']))
    for found, name in ((features, 'rn_plain'), (attended, 'rn_attnpool')):
        unit = found / found.norm(dim=1, keepdim=True)
        scores = np.einsum('tc,bchw->bthw', kit['text'], unit.numpy())
        assert np.abs(scores - kit[name]).max() < 1e-6, name


def test_the_archive_reader_leaves_other_files_to_pytorch(tmp_path):
    buffer = io.BytesIO()
    torch.save({'model': {'a': torch.ones(2)}}, buffer)
    (tmp_path / 'x.pt').write_bytes(buffer.getvalue())
    assert read_checkpoint(tmp_path / 'x.pt')['a'].tolist() == [1, 1]


@pytest.mark.parametrize(
    ('width', 'heads'), [(768, 12), (1024, 16), (512, 8), (3072, 48), (64, 4), (6, 3), (7, 1)]
)
def test_heads_follow_from_the_width(width, heads):
    config = ClipConfig(vision_width=width, text_width=width)
    assert config.image_heads == config.words_heads == heads


def test_heads_that_do_not_divide_the_width():
    with pytest.raises(ValueError, match='5 heads do not divide the width 16'):
        ClipConfig(vision_width=16, vision_heads=5)


def test_a_checkpoint_without_the_scale_of_training(tmp_path):
    state = random_network(VIT).state_dict()
    del state['logit_scale']
    torch.save(state, tmp_path / 'clip.pt')
    build_network(any_clip(), tmp_path / 'clip.pt')
