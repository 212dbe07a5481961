# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Robust graphical lasso: a covariance is a regular part and a few changed entries.

"Rglasso" (arXiv 1811.04277) splits a covariance M into F + S, where the inverse Theta of F is
sparse and S has few entries that are not zero. Its objective, as others quote it,

    minimise  -log det Theta + tr(F Theta) + rho |Theta|_1 + lam |S|_1,   M = F + S,

is bilinear in F and Theta. With the best Theta for an F it contains + log det F, so making F small
always pays: `published_rglasso` solves it as it stands and returns F = 0, S = M. It is here to
show that, and for nothing else. `robust_graphical_lasso` solves the convex problem that keeps what
the objective is meant for:

    minimise  -log det Theta + tr(M Theta) + rho |Theta|_1    with |Theta - centre| <= lam,

both on the entries off the diagonal. The multipliers of the bounds are S: the entries of M that
would have to change for a precision matrix within the bounds to be the best one. Without bounds
(lam infinite) it is the graphical lasso (Friedman, Hastie and Tibshirani, Biostatistics 9, 2008).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

MAX_STEPS = 5000
_BALANCE = 10.0  # ratio of the two residuals above which the step size is changed (Boyd 2011, 3.4)


class ConvergenceError(RuntimeError):
    """The iteration did not reach its tolerance; the message says what to change."""


class Decomposition(NamedTuple):
    """Result of the robust graphical lasso, each float64 [p, p].

    Attributes:
        regular: F, the covariance without the changed entries; rho away from the inverse of Theta.
        changed: S, zero where nothing changed; its diagonal is zero.
        precision: Theta; its entries that the penalty removes are exactly zero.
    """

    regular: NDArray[np.float64]
    changed: NDArray[np.float64]
    precision: NDArray[np.float64]


def robust_graphical_lasso(
    covariance: ArrayLike,
    rho: float,
    lam: ArrayLike,
    centre: ArrayLike | None = None,
    tolerance: float = 1e-9,
) -> Decomposition:
    """Split a covariance into a regular part and changed entries, by ADMM.

    Args:
        covariance: symmetric [p, p]. It may have negative eigenvalues if `rho` is positive.
        rho: penalty of the entries of the precision matrix, not negative.
        lam: bound of those entries off the diagonal, positive: a number, or [p, p] for a bound
            of each pair; infinite: no bound.
        centre: [p, p], the middle of the bounds, such as the precision matrix of a baseline;
            None: zero.
        tolerance: relative accuracy at which the iteration ends.

    Raises:
        ValueError: an argument is not valid; the message names it.
        ConvergenceError: the iteration did not end in `MAX_STEPS` steps.
    """
    given = _symmetric(covariance, 'covariance')
    if not (np.isfinite(rho) and rho >= 0):
        raise ValueError(f'rho is {rho}, not a finite number that is at least 0')
    bound = np.asarray(lam, dtype=np.float64)
    if bound.shape not in ((), given.shape) or not (bound > 0).all():
        raise ValueError(f'lam is not a positive number, nor one for each of {given.shape}')
    middle = np.zeros_like(given) if centre is None else _symmetric(centre, 'centre')
    if middle.shape != given.shape:
        raise ValueError(f'centre has the shape {middle.shape}, covariance {given.shape}')
    diagonal = np.eye(len(given), dtype=bool)
    penalty = np.where(diagonal, 0.0, rho)
    bound = np.where(diagonal, np.inf, bound)
    low, high = middle - bound, middle + bound

    precision = np.diag(1 / np.maximum(np.diag(given), 1e-12))
    precision = np.clip(precision, low, high)
    dual = np.zeros_like(given)
    step = 1.0
    for _ in range(MAX_STEPS):
        free, inverse = _log_det_step(given, precision - dual, step)
        previous = precision
        precision = np.clip(_shrink(free + dual, penalty / step), low, high)
        dual = dual + free - precision
        primal = float(np.linalg.norm(free - precision))
        moved = step * float(np.linalg.norm(precision - previous))
        if primal <= tolerance * np.linalg.norm(precision) and moved <= tolerance * max(
            step * float(np.linalg.norm(dual)), float(np.linalg.norm(given))
        ):
            break
        factor = 2.0 if primal > _BALANCE * moved else 0.5 if moved > _BALANCE * primal else 1.0
        step, dual = step * factor, dual / factor
    else:
        raise ConvergenceError(
            f'no solution in {MAX_STEPS} steps: scale the channels to variance 1, or give a '
            f'larger rho than {rho:g}'
        )
    changed = given - inverse
    # At a bound, what is left of the gradient beside the penalty holds the entry there.
    changed += np.where(precision == 0, np.clip(-changed, -penalty, penalty), 0)
    changed += penalty * np.sign(precision)
    changed[(precision > low) & (precision < high)] = 0
    return Decomposition(given - changed, changed, precision)


def published_rglasso(
    covariance: ArrayLike, rho: float, lam: float, steps: int = 300, step: float = 1.0
) -> Decomposition:
    """Run ADMM on the objective as published, which has no useful solution: F tends to zero.

    Args:
        covariance: symmetric [p, p].
        rho: penalty of all entries of the precision matrix, positive.
        lam: penalty of all entries of S.
        steps: number of iterations from F = 0, S = M.
        step: the step size.

    Returns:
        Where the iteration is after these steps, converged or not.
    """
    given = _symmetric(covariance, 'covariance')
    regular, changed = np.zeros_like(given), given.copy()
    precision = np.eye(len(given)) / rho
    dual, inner = np.zeros_like(given), np.zeros_like(given)
    for _ in range(steps):
        free, _ = _log_det_step(regular, precision - inner, step)
        precision = _shrink(free + inner, rho / step)
        inner = inner + free - precision
        regular = _positive_part(given - changed + (dual - precision) / step)
        changed = _shrink(given - regular + dual / step, lam / step)
        dual = dual + step * (given - regular - changed)
    return Decomposition(regular, changed, precision)


def _log_det_step(
    covariance: NDArray[np.float64], near: NDArray[np.float64], step: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Minimise -log det X + tr(covariance X) + step/2 |X - near|^2; return X and its inverse."""
    values, vectors = np.linalg.eigh(step * near - covariance)
    root = np.sqrt(values**2 + 4 * step)
    # The smaller of the two in a form without cancellation.
    large = np.where(values > 0, (values + root) / (2 * step), 2 / (root - values))
    return (vectors * large) @ vectors.T, (vectors / large) @ vectors.T


def _shrink(
    values: NDArray[np.float64], amount: float | NDArray[np.float64]
) -> NDArray[np.float64]:
    """Move values towards zero by an amount, not beyond it."""
    shrunk: NDArray[np.float64] = np.sign(values) * np.maximum(np.abs(values) - amount, 0)
    return shrunk


def _positive_part(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    values, vectors = np.linalg.eigh(matrix)
    projected: NDArray[np.float64] = (vectors * np.maximum(values, 0)) @ vectors.T
    return projected


def _symmetric(matrix: ArrayLike, name: str) -> NDArray[np.float64]:
    array = np.asarray(matrix, dtype=np.float64)
    if array.ndim != 2 or array.shape[0] != array.shape[1] or not len(array):
        raise ValueError(f'{name} has the shape {array.shape}, not [p, p]')
    if not np.isfinite(array).all():
        raise ValueError(f'{name} contains numbers that are not finite')
    if not np.allclose(array, array.T, rtol=1e-6, atol=1e-9 * np.abs(array).max()):
        raise ValueError(f'{name} is not symmetric')
    symmetric: NDArray[np.float64] = (array + array.T) / 2
    return symmetric
