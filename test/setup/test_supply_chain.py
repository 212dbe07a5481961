# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The bill of materials, and what is said of known holes."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import pytest
import supply_chain
from supply_chain import ToolError

ROOT = Path(__file__).resolve().parents[2]
NUMPY = {'name': 'numpy', 'version': '2.4.6', 'vulns': []}
ROS = {'name': 'ros-rclpy', 'skip_reason': 'Dependency not found on PyPI'}
HOLE = {
    'name': 'pillow',
    'version': '12.1.0',
    'vulns': [{'id': 'GHSA-x', 'aliases': ['CVE-2026-25990'], 'fix_versions': ['12.1.1']}],
}


def test_holes_are_listed_with_their_remedy(capsys):
    assert supply_chain.report([NUMPY, ROS, HOLE]) == 1
    said = capsys.readouterr().out
    assert 'pillow 12.1.0: GHSA-x, CVE-2026-25990; fixed in 12.1.1' in said
    assert '2 packages compared, 1 known holes' in said
    assert 'not in the database: ros-rclpy' in said
    assert supply_chain.report([NUMPY, ROS]) == 0


def test_no_answer_is_not_a_clean_result():
    """pip-audit skips every package where the database cannot be reached, and exits with 0."""
    with pytest.raises(ToolError, match='no database answered'):
        supply_chain.report([{**NUMPY, 'skip_reason': 'Dependency not found on PyPI'}, ROS])


def test_an_error_of_a_tool_is_one_line(monkeypatch, capsys, tmp_path):
    def fail(*_):
        supply_chain.run(['sh', '-c', 'echo first >&2; echo no such package >&2; exit 3'])

    monkeypatch.setattr(supply_chain, 'install', fail)
    assert supply_chain.main(['audit']) == 2
    assert capsys.readouterr().err == 'audit: no such package\n'
    assert supply_chain.main(['sbom', '--out', str(tmp_path / 'sbom.json')]) == 2
    assert not list(tmp_path.iterdir())


@pytest.mark.exhaustive  # minutes, most of them in pip
def test_the_bill_of_materials_has_what_is_installed(tmp_path, capsys):
    out = tmp_path / 'sbom.json'
    status = supply_chain.main(['sbom', '--out', str(out)])
    said = capsys.readouterr()
    if status == 2 and 'o matching distribution' in said.err:
        pytest.skip(f'the tool cannot be installed here: {said.err.strip()}')
    assert status == 0, said.err
    bill = json.loads(out.read_text())
    assert bill['bomFormat'] == 'CycloneDX'
    assert bill['metadata']['component']['name'] == 'tam_ros'
    listed = {one['name'].lower(): one['version'] for one in bill['components']}
    for name in ('numpy', 'pillow', 'onnxruntime', 'filelock'):
        assert listed[name] == version(name)


def test_the_makefile_has_the_targets():
    makefile = (ROOT / 'Makefile').read_text()
    for target in ('sbom', 'audit'):
        assert f'\n{target}:\n' in makefile
        assert f"'make {target}" in makefile
        assert f'supply_chain.py {target}' in makefile
