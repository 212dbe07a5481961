# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The cache: where it is, and users and folders that it cannot be made for."""

from __future__ import annotations

import errno
import os
import pwd
import tempfile
from pathlib import Path

import pytest

from tam_ros import cache, catalogue
from tam_ros.cache import (
    CacheError,
    NoHomeError,
    UntrustedCacheError,
    cache_dir,
    make_cache_folder,
    take_write_access,
)
from tam_ros.cli import main
from tam_ros.loading import find_weights, graphs_of
from tam_ros.tensorrt.engine_cache import EngineCache, write_private


@pytest.fixture
def no_home(monkeypatch):
    """Be a user of a container: no HOME and no entry in passwd, as with `docker --user 12345`."""
    for name in ('HOME', 'TAM_ROS_CACHE', 'XDG_CACHE_HOME'):
        monkeypatch.delenv(name, raising=False)

    def no_entry(uid):
        raise KeyError(f'getpwuid(): uid not found: {uid}')

    monkeypatch.setattr(pwd, 'getpwuid', no_entry)


@pytest.mark.parametrize(
    ('environment', 'expected'),
    [
        ({'TAM_ROS_CACHE': '/a', 'XDG_CACHE_HOME': '/b', 'HOME': '/c'}, '/a'),
        ({'XDG_CACHE_HOME': '/b', 'HOME': '/c'}, '/b/tam_ros'),
        ({'TAM_ROS_CACHE': '', 'XDG_CACHE_HOME': '', 'HOME': '/c'}, '/c/.cache/tam_ros'),
    ],
)
def test_where_it_is(monkeypatch, environment, expected):
    for name in ('TAM_ROS_CACHE', 'XDG_CACHE_HOME', 'HOME'):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert cache_dir() == Path(expected)


@pytest.mark.parametrize('home', [None, ''])
def test_without_home_the_entry_in_passwd_counts(monkeypatch, no_home, home):
    if home is not None:
        monkeypatch.setenv('HOME', home)
    entry = pwd.struct_passwd(('robot', 'x', 1, 1, '', '/srv/robot', '/bin/sh'))
    monkeypatch.setattr(pwd, 'getpwuid', lambda uid: entry)
    assert cache_dir() == Path('/srv/robot/.cache/tam_ros')


@pytest.mark.parametrize('home', [None, ''])
def test_without_a_home_the_message_says_what_to_do(monkeypatch, no_home, home):
    if home is not None:
        monkeypatch.setenv('HOME', home)
    with pytest.raises(NoHomeError, match=f'user {os.getuid()} has no entry .* TAM_ROS_CACHE'):
        cache_dir()


def test_commands_without_a_home(no_home, tmp_path, capsys):
    assert main(['models']) == 0
    assert '`tam weights get efficienttam_ti`' in capsys.readouterr().out
    for command in (['weights', 'get', 'efficienttam_ti'], ['engines'], ['engines', 'verify']):
        assert main(command) == 2
        assert 'set TAM_ROS_CACHE to a folder' in capsys.readouterr().err
    export = ['export', 'efficienttam_ti', '--out', str(tmp_path / 'out'), '--weights']
    assert main([*export, '~/weights.pt']) == 2
    assert 'weights ~/weights.pt do not exist' in capsys.readouterr().err


def test_folder_is_created(monkeypatch, tmp_path):
    monkeypatch.setenv('TAM_ROS_CACHE', str(tmp_path / 'a' / 'b'))
    folder = make_cache_folder('weights')
    assert folder == make_cache_folder('weights') == tmp_path / 'a' / 'b' / 'weights'
    assert not list(folder.iterdir())


@pytest.fixture(params=[0o000, 0o002, 0o022, 0o077], ids=oct)
def umask(request):
    """002 is the usual one of a user with a group of their own."""
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_what_is_created_is_trusted_later_whatever_the_umask_is(umask, monkeypatch, tmp_path):
    root = tmp_path / 'home' / 'cache'
    monkeypatch.setenv('TAM_ROS_CACHE', str(root))
    engines = EngineCache()
    engines.save_timings('machine', b'timings')
    assert engines.timings('machine') == b'timings'

    def export(entry, weights, folder):
        folder.mkdir()
        (folder / 'model.json').write_text('{}')

    monkeypatch.setattr('tam_ros.export.onnx.export_model', export)
    entry = catalogue.model('efficienttam_ti')
    assert graphs_of(entry, 'untrained') == graphs_of(entry, 'untrained')
    path = make_cache_folder('weights') / entry.weights.file
    path.write_bytes(b'')
    take_write_access(path)
    assert find_weights(entry, None, 'torch') == path
    for folder in (root.parent, root, *(one for one in root.iterdir() if one.is_dir())):
        assert folder.stat().st_mode & 0o777 == 0o700, folder
    for one in root.rglob('*'):  # the library of the locks leaves their mode to the umask
        assert one.name.endswith('.lock') or one.stat().st_mode & 0o022 == 0, one


def test_a_folder_that_an_older_version_made_is_closed(monkeypatch, tmp_path):
    monkeypatch.setenv('TAM_ROS_CACHE', str(tmp_path))
    (tmp_path / 'weights').mkdir()
    (tmp_path / 'weights').chmod(0o775)
    assert make_cache_folder('weights').stat().st_mode & 0o777 == 0o755


def test_the_cache_is_a_file(monkeypatch, tmp_path, capsys):
    (tmp_path / 'file').write_text('not a folder')
    monkeypatch.setenv('TAM_ROS_CACHE', str(tmp_path / 'file'))
    message = f'{tmp_path}/file/weights cannot be written: Not a directory; set TAM_ROS_CACHE'
    assert main(['models']) == 0
    assert main(['weights', 'get', 'efficienttam_ti']) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize('number', [errno.EROFS, errno.ENOSPC, errno.EACCES, errno.EDQUOT])
def test_the_cache_cannot_be_written(monkeypatch, tmp_path, number):
    """The folder exists, but nothing can be created there; root is not stopped by its mode."""
    monkeypatch.setenv('TAM_ROS_CACHE', str(tmp_path))

    def refuse(**_):
        raise OSError(number, os.strerror(number), 'a temporary name')

    monkeypatch.setattr(tempfile, 'TemporaryFile', refuse)
    with pytest.raises(CacheError) as error:
        graphs_of(catalogue.model('efficienttam_ti'), 'untrained')
    assert str(error.value) == (
        f'{tmp_path}/graphs cannot be written: {os.strerror(number)}; {cache._REMEDY}'
    )


def test_engines_that_cannot_be_saved(monkeypatch, tmp_path):
    (tmp_path / 'file').write_text('not a folder')
    with pytest.raises(CacheError, match='file/engines cannot be written: Not a directory'):
        EngineCache(tmp_path / 'file' / 'engines').folder(tmp_path / 'file' / 'engines')

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(CacheError, match='/plan cannot be written: No space left on device'):
        write_private(tmp_path / 'plan', b'an engine')
    assert [item.name for item in tmp_path.iterdir()] == ['file']


@pytest.fixture
def exported(monkeypatch, tmp_path):
    """Return a function that looks up the exported graphs, and their folder in the cache."""
    monkeypatch.setenv('TAM_ROS_CACHE', str(tmp_path))

    def export(entry, weights, folder):
        folder.mkdir()
        (folder / 'model.json').write_text('{}')
        (folder / 'model.json').chmod(0o666)
        folder.chmod(0o777)

    monkeypatch.setattr('tam_ros.export.onnx.export_model', export)

    def look_up():
        return graphs_of(catalogue.model('efficienttam_ti'), 'untrained')

    return look_up, look_up()


def test_exported_graphs_can_be_written_by_their_owner_alone(exported):
    look_up, folder = exported
    assert look_up() == folder
    for path in (folder.parent, folder, folder / 'model.json'):
        assert path.stat().st_mode & 0o022 == 0


@pytest.mark.parametrize('part', ['..', '.', 'model.json'])
@pytest.mark.parametrize('others', ['own', 'write'])
def test_graphs_that_another_user_could_have_planted_are_not_used(exported, part, others):
    look_up, folder = exported
    path = (folder / part).resolve()
    if others == 'own':
        if os.geteuid() != 0:
            pytest.skip('only root can change the owner')
        os.chown(path, 12345, -1)
    else:
        path.chmod(0o777)
    with pytest.raises(UntrustedCacheError, match='another user|other users') as caught:
        look_up()
    assert str(path) in str(caught.value)


def test_downloaded_weights_that_others_may_write_are_not_used(monkeypatch, tmp_path):
    monkeypatch.setenv('TAM_ROS_CACHE', str(tmp_path))
    entry = catalogue.model('efficienttam_ti')
    path = make_cache_folder('weights') / entry.weights.file
    path.write_bytes(b'')
    path.chmod(0o644)
    assert find_weights(entry, None, 'torch') == path
    path.chmod(0o666)
    with pytest.raises(UntrustedCacheError, match='other users may write'):
        find_weights(entry, None, 'torch')


def test_a_link_in_place_of_a_folder_of_the_cache_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv('TAM_ROS_CACHE', str(tmp_path))
    (tmp_path / 'elsewhere').mkdir()
    (tmp_path / 'graphs').symlink_to(tmp_path / 'elsewhere')
    with pytest.raises(UntrustedCacheError, match='graphs'):
        make_cache_folder('graphs')
