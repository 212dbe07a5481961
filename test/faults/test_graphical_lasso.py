# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The robust graphical lasso: a kit of solutions, scikit-learn as its limit, its conditions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tam_ros.faults import graphical_lasso
from tam_ros.faults.graphical_lasso import (
    ConvergenceError,
    published_rglasso,
    robust_graphical_lasso,
)

KIT = Path(__file__).resolve().parents[3] / 'shared' / 'parity' / 'others' / 'rglasso' / 'open.npz'


@pytest.fixture(scope='module')
def kit():
    if not KIT.is_file():
        pytest.skip(f'{KIT} is absent')
    return np.load(KIT)


def some_covariance(seed: int, channels: int, samples: int = 60) -> np.ndarray:
    random = np.random.default_rng(seed)
    mixing = np.eye(channels) + 0.4 * random.standard_normal((channels, channels))
    return np.corrcoef(random.standard_normal((samples, channels)) @ mixing, rowvar=False)


def test_planted_entries_are_found_as_in_the_kit(kit):
    found = robust_graphical_lasso(kit['A_M'], float(kit['A_rho']), float(kit['A_lam']))
    for mine, theirs in zip(found, ('A_F', 'A_S', 'A_Theta'), strict=True):
        np.testing.assert_allclose(mine, kit[theirs], atol=1e-6)
    np.testing.assert_array_equal(found.changed != 0, kit['A_S_true'] != 0)


def test_without_bounds_it_is_the_graphical_lasso_of_the_kit(kit):
    found = robust_graphical_lasso(kit['A_C'], float(kit['B_alpha']), np.inf)
    np.testing.assert_allclose(found.precision, kit['B_precision'], atol=1e-6)
    assert not found.changed.any()


def test_the_case_with_samples_of_the_kit(kit):
    found = robust_graphical_lasso(kit['C_M'], float(kit['C_rho']), float(kit['C_lam']))
    np.testing.assert_allclose(found.changed, kit['C_S'], atol=1e-6)
    np.testing.assert_allclose(found.precision, kit['C_Theta'], atol=1e-6)


def test_without_bounds_it_is_the_graphical_lasso_of_scikit_learn():
    covariance = pytest.importorskip('sklearn.covariance')
    given_matrix = some_covariance(3, 8)
    _, expected = covariance.graphical_lasso(given_matrix, 0.1, tol=1e-10, max_iter=1000)
    found = robust_graphical_lasso(given_matrix, 0.1, np.inf)
    np.testing.assert_allclose(found.precision, expected, atol=1e-6)


@given(
    seed=st.integers(0, 10_000),
    channels=st.integers(1, 7),
    rho=st.sampled_from([0.0, 0.05, 0.3]),
    lam=st.sampled_from([0.1, 0.4, np.inf]),
    centred=st.booleans(),
)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_every_solution_fulfils_the_conditions_of_the_optimum(seed, channels, rho, lam, centred):
    covariance = np.atleast_2d(some_covariance(seed, channels))
    centre = np.linalg.inv(np.atleast_2d(some_covariance(seed + 1, channels)))
    centre = centre if centred else np.zeros_like(centre)
    regular, changed, precision = robust_graphical_lasso(covariance, rho, lam, centre)
    off = ~np.eye(channels, dtype=bool)
    np.testing.assert_allclose(regular + changed, covariance, atol=1e-12)
    assert (np.linalg.eigvalsh(precision) > 0).all()
    assert (abs(precision - centre)[off] <= lam + 1e-8).all()
    assert not changed.diagonal().any()
    # What the penalty leaves between F and the inverse of Theta.
    rest = regular - np.linalg.inv(precision)
    assert abs(rest.diagonal()).max() < 1e-5
    assert (abs(rest[off]) <= rho + 1e-5).all()
    kept = off & (precision != 0)
    np.testing.assert_allclose(rest[kept], -rho * np.sign(precision[kept]), atol=1e-5)
    # A multiplier pushes against its bound and is zero inside.
    assert (changed[off & (precision > centre - lam + 1e-8)] <= 1e-5).all()
    assert (changed[off & (precision < centre + lam - 1e-8)] >= -1e-5).all()


def test_a_bound_of_its_own_for_each_pair():
    covariance = some_covariance(5, 4)
    bounds = np.full((4, 4), np.inf)
    bounds[0, 1] = bounds[1, 0] = 0.01
    found = robust_graphical_lasso(covariance, 0.01, bounds)
    assert sorted(zip(*np.nonzero(found.changed), strict=True)) == [(0, 1), (1, 0)]


@pytest.mark.parametrize('lam', [0.05, 0.5])
def test_the_published_objective_collapses(lam):
    covariance = some_covariance(1, 8)
    found = published_rglasso(covariance, 0.06, lam)
    assert np.linalg.norm(found.regular) < 1e-3 * np.linalg.norm(covariance)
    np.testing.assert_allclose(found.changed, covariance, atol=5e-3)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'covariance': np.ones((2, 3))}, r'covariance has the shape \(2, 3\)'),
        ({'covariance': np.array([[1.0, 0.5], [0.0, 1.0]])}, 'covariance is not symmetric'),
        ({'covariance': np.full((2, 2), np.nan)}, 'not finite'),
        ({'rho': -1.0}, 'rho is -1.0'),
        ({'rho': np.nan}, 'rho is nan'),
        ({'lam': 0.0}, 'lam is not a positive number'),
        ({'lam': np.ones((3, 3))}, 'lam is not a positive number'),
        ({'centre': np.eye(3)}, r'centre has the shape \(3, 3\)'),
    ],
)
def test_what_is_not_valid_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        robust_graphical_lasso(**{'covariance': np.eye(2), 'rho': 0.1, 'lam': 1.0, **change})


def test_what_does_not_converge_says_what_to_change(monkeypatch):
    monkeypatch.setattr(graphical_lasso, 'MAX_STEPS', 2)
    with pytest.raises(ConvergenceError, match='larger rho'):
        robust_graphical_lasso(some_covariance(2, 6), 0.01, 0.2)
