# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""`tam weights get` with a hub on this machine: what is asked, checked, printed and kept."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tam_ros import catalogue
from tam_ros.cli import main
from tam_ros.loading import downloaded, find_weights
from tam_ros.model_files import WeightsError

huggingface_hub = pytest.importorskip('huggingface_hub', reason='huggingface_hub is not installed')

NAME = 'efficienttam_ti'
REPO = 'yunyangx/efficient-track-anything'
FILE = 'efficienttam_ti.pt'
CONTENT = bytes(range(256)) * 4000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
COMMIT, OTHER = 'c' * 40, 'd' * 40


class Hub(ThreadingHTTPServer):
    """Answers as the hub does for one file, which is stored on another host.

    Attributes:
        content: what is sent.
        stated: the SHA-256 that the hub states; empty: that of `content`.
        commit: the revision of every branch; None: no header says it.
        cut: number of transfers that end half-way.
        redirect: where the file is; empty: here.
        size: the size that the hub states; None: that of `content`.
        known: the revisions that it answers.
        folder: of the repository, where the file is.
        requests: method and path of each request.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(('127.0.0.1', 0), Handler)
        self.content, self.stated, self.commit = CONTENT, '', COMMIT
        self.cut, self.redirect, self.requests = 0, '', []
        self.size = None
        self.known = 'main', COMMIT
        self.folder = ''

    @property
    def address(self):
        return f'http://127.0.0.1:{self.server_port}'


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_HEAD(self):  # noqa: N802
        self.answer()

    def do_GET(self):  # noqa: N802
        self.answer()

    def answer(self):
        hub = self.server
        path = self.path.partition('?')[0]
        hub.requests.append((self.command, path))
        if path not in (
            '/blob',
            *(f'/{REPO}/resolve/{at}/{hub.folder}{FILE}' for at in hub.known),
        ):
            self.send_error(404)
            return
        if path != '/blob' and hub.redirect:
            self.send_response(302)
            self.send_header('Location', hub.redirect)
            self.send_header('X-Linked-Size', str(hub.size or len(hub.content)))
            self.headers_of_the_file()
            self.send_header('Content-Length', '0')
            self.end_headers()
            return
        start = 0
        if 'Range' in self.headers:
            start = int(self.headers['Range'].removeprefix('bytes=').partition('-')[0])
        body = hub.content[start:]
        self.send_response(206 if start else 200)
        if start:
            whole = len(hub.content)
            self.send_header('Content-Range', f'bytes {start}-{whole - 1}/{whole}')
        self.headers_of_the_file()
        self.send_header('Content-Length', str(hub.size or len(body)))
        self.end_headers()
        if self.command == 'GET':
            if hub.cut > 0:
                hub.cut -= 1
                body = body[: len(body) // 2]
                self.close_connection = True
            self.wfile.write(body)

    def headers_of_the_file(self):
        hub = self.server
        if hub.commit is not None:
            self.send_header('X-Repo-Commit', hub.commit)
        stated = hub.stated or hashlib.sha256(hub.content).hexdigest()
        self.send_header('ETag', f'"{stated}"')
        self.send_header('X-Linked-Etag', f'"{stated}"')


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub that the command asks, and an empty cache."""
    with Hub() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        monkeypatch.setenv('HF_ENDPOINT', server.address)
        monkeypatch.setenv('NO_PROXY', '127.0.0.1')
        monkeypatch.setenv('HF_HUB_DISABLE_PROGRESS_BARS', '1')
        monkeypatch.setenv('TAM_ROS_CACHE', str(tmp_path / 'cache'))
        # The library waits for a second before it tries again.
        monkeypatch.setattr('huggingface_hub.file_download.time.sleep', lambda _: None)
        yield server
        server.shutdown()
        thread.join()


def pin(monkeypatch, **fields):
    """Give the catalogue's entry a revision or a hash."""
    entry = catalogue.model(NAME)
    pinned = replace(entry, weights=replace(entry.weights, **fields))
    monkeypatch.setitem(catalogue.models(), NAME, pinned)
    return pinned


def files(cache):
    return sorted(str(path.relative_to(cache)) for path in cache.rglob('*') if path.is_file())


def get(hub, tmp_path, capsys, status=0):
    """Run the command and return what it printed."""
    answered = main(['weights', 'get', NAME])
    out, err = capsys.readouterr()
    assert answered == status, err
    if status:
        assert files(tmp_path / 'cache') == [], 'something is kept'
        assert err.count('\n') == 1, err
    return out + err


def test_what_is_not_pinned_is_printed_so_that_it_can_be(hub, tmp_path, capsys):
    said = get(hub, tmp_path, capsys)
    assert f'downloading {hub.address}/{REPO}/resolve/main/{FILE} (Apache-2.0)' in said
    assert 'has no SHA-256 of this file' in said
    assert f"revision: '{COMMIT}', sha256: '{SHA256}'" in said
    path = find_weights(catalogue.model(NAME), None, 'torch')
    assert path.read_bytes() == CONTENT and str(path) in said
    assert path.stat().st_mode & 0o022 == 0
    assert files(tmp_path / 'cache') == [f'weights/{FILE}']
    # What was asked for by name is fetched by the commit that was found.
    assert ('GET', f'/{REPO}/resolve/{COMMIT}/{FILE}') in hub.requests


def test_what_is_pinned_is_fetched_and_checked(hub, tmp_path, capsys, monkeypatch):
    pin(monkeypatch, revision=COMMIT, sha256=SHA256)
    said = get(hub, tmp_path, capsys)
    assert f'downloading {hub.address}/{REPO}/resolve/{COMMIT}/{FILE}' in said
    assert f'SHA-256 {SHA256}, revision {COMMIT}' in said and 'has no SHA-256' not in said
    hub.requests.clear()
    assert 'exists already' in get(hub, tmp_path, capsys)
    assert hub.requests == []


def test_a_file_in_a_folder_of_the_repository(hub, tmp_path, capsys, monkeypatch):
    pin(monkeypatch, file=f'checkpoints/{FILE}')
    monkeypatch.setattr(hub, 'folder', 'checkpoints/')
    get(hub, tmp_path, capsys)
    assert files(tmp_path / 'cache') == [f'weights/{FILE}']
    assert find_weights(catalogue.model(NAME), None, 'torch').read_bytes() == CONTENT


def test_redirects_are_followed_and_printed(hub, tmp_path, capsys):
    hub.redirect = f'http://localhost:{hub.server_port}/blob?signature=secret'
    said = get(hub, tmp_path, capsys)
    assert f'which leads to http://localhost:{hub.server_port}/blob\n' in said
    assert 'secret' not in said
    assert [path for method, path in hub.requests if method == 'GET'] == ['/blob']
    assert (tmp_path / 'cache' / 'weights' / FILE).read_bytes() == CONTENT


def test_another_file_than_the_pinned_one_is_deleted(hub, tmp_path, capsys, monkeypatch):
    pin(monkeypatch, revision=COMMIT, sha256='e' * 64)
    said = get(hub, tmp_path, capsys, status=2)
    assert 'was deleted' in said and SHA256 in said and 'e' * 64 in said


def test_a_file_that_arrives_damaged_is_deleted(hub, tmp_path, capsys):
    hub.stated = SHA256
    hub.content = CONTENT[:-1] + b'\0'
    assert f'the hub states {SHA256}' in get(hub, tmp_path, capsys, status=2)


def test_another_revision_than_the_pinned_one_is_refused(hub, tmp_path, capsys, monkeypatch):
    """As a hub would that answers every revision with the newest."""
    pin(monkeypatch, revision=OTHER)
    hub.known = 'main', OTHER
    said = get(hub, tmp_path, capsys, status=2)
    assert f'is of the revision {COMMIT}, but the catalogue has {OTHER}' in said
    assert [method for method, _ in hub.requests if method == 'GET'] == []


def test_an_unknown_revision_is_an_error(hub, tmp_path, capsys, monkeypatch):
    pin(monkeypatch, revision=OTHER, sha256=SHA256)
    said = get(hub, tmp_path, capsys, status=2)
    assert 'could not be downloaded' in said
    assert f'{hub.address}/{REPO}/resolve/{OTHER}/{FILE} and save it as {tmp_path}/cache' in said


@pytest.mark.parametrize(
    ('commit', 'size', 'message'),
    [
        (None, None, 'no hub of Hugging Face answers there'),
        ('main', None, 'no hub of Hugging Face answers there'),
        (COMMIT, 10**12, 'above the limit'),
    ],
)
def test_offers_that_are_refused_before_the_download(hub, tmp_path, capsys, commit, size, message):
    hub.commit, hub.size = commit, size
    assert message in get(hub, tmp_path, capsys, status=2)
    assert {method for method, _ in hub.requests} == {'HEAD'}


def test_a_transfer_that_is_cut_goes_on(hub, tmp_path, capsys):
    hub.cut = 2
    resumes = not huggingface_hub.__version__.startswith('0.')
    said = get(hub, tmp_path, capsys, status=0 if resumes else 2)
    if resumes:
        assert SHA256 in said
        assert (tmp_path / 'cache' / 'weights' / FILE).read_bytes() == CONTENT


def test_nothing_is_kept_of_a_transfer_that_ends_for_good(hub, tmp_path, capsys):
    hub.cut = 1000  # ever smaller parts of what is left, until none is
    assert 'could not be downloaded' in get(hub, tmp_path, capsys, status=2)


def test_no_hub_answers(hub, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv('HF_ENDPOINT', 'http://127.0.0.1:9')  # nobody listens on `discard`
    said = get(hub, tmp_path, capsys, status=2)
    assert 'could not be downloaded' in said and 'http://127.0.0.1:9/' in said


def test_nothing_is_kept_of_an_interrupted_download(hub, tmp_path, capsys, monkeypatch):
    def interrupt(*_, local_dir, **__):
        (Path(local_dir) / FILE).write_bytes(CONTENT[:100])
        raise KeyboardInterrupt

    monkeypatch.setattr('huggingface_hub.hf_hub_download', interrupt)
    assert main(['weights', 'get', NAME]) == 130
    assert files(tmp_path / 'cache') == []


def test_what_a_killed_download_has_left_is_removed_by_the_next(hub, tmp_path, capsys):
    draft = tmp_path / 'cache' / 'weights' / f'{FILE}.abcd1234.partial'
    draft.mkdir(parents=True)
    (draft / FILE).write_bytes(CONTENT[:100])
    get(hub, tmp_path, capsys)
    assert files(tmp_path / 'cache') == [f'weights/{FILE}']


def test_a_file_in_the_cache_is_checked_as_well(hub, tmp_path, capsys, monkeypatch):
    get(hub, tmp_path, capsys)
    entry = pin(monkeypatch, sha256='e' * 64)
    with pytest.raises(WeightsError, match='its SHA-256 is .* remove it and run `tam weights get'):
        find_weights(entry, None, 'torch')
    assert main(['weights', 'get', NAME]) == 2
    assert 'is not the checkpoint of efficienttam_ti, or damaged' in capsys.readouterr().err
    assert downloaded(entry).exists()


def test_the_command_as_a_process(hub, tmp_path):
    """The library reads the environment when it is imported."""
    done = subprocess.run(
        [sys.executable, '-m', 'tam_ros.cli', 'weights', 'get', 'edgetam'],
        env=os.environ,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert f'downloading {hub.address}/facebook/EdgeTAM/resolve/main/edgetam.pt' in done.stdout
    assert done.stderr.startswith('tam: edgetam.pt could not be downloaded: ')


def test_bundled_weights_need_no_download(capsys):
    assert main(['weights', 'get', 'efficienttam_nano']) == 0
    assert 'come with the package' in capsys.readouterr().out


# --- the catalogue ---


def test_the_addresses_of_the_catalogue():
    for name, model in catalogue.models().items():
        weights = model.weights
        if weights.repo is None:
            continue
        if name.startswith('edgetam'):
            assert (weights.repo, weights.file) == ('facebook/EdgeTAM', 'edgetam.pt')
        elif name.startswith('efficienttam'):
            assert (weights.repo, weights.file) == (REPO, f'{name}.pt')


def test_files_of_two_repositories_do_not_meet_in_the_cache():
    repositories = {}
    for model in catalogue.models().values():
        if model.weights.file is not None:
            name = Path(model.weights.file).name
            assert repositories.setdefault(name, model.weights.repo) == model.weights.repo, name


def test_entries_with_the_same_file_pin_the_same():
    seen = {}
    for model in catalogue.models().values():
        weights = model.weights
        key = weights.repo, weights.file, weights.bundled
        assert seen.setdefault(key, weights) == weights, model.name


def test_the_bundled_checkpoint_is_the_one_in_the_catalogue(monkeypatch):
    entry = catalogue.model('efficienttam_nano')
    path = find_weights(entry, None, 'torch')
    assert hashlib.sha256(path.read_bytes()).hexdigest() == entry.weights.sha256
    other = replace(entry, weights=replace(entry.weights, sha256='e' * 64))
    with pytest.raises(WeightsError, match='install the package again'):
        find_weights(other, None, 'torch')
