# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""`tam export`: writes the ONNX graphs of a model, for machines without PyTorch."""

from __future__ import annotations

import argparse
from pathlib import Path

from tam_ros import catalogue
from tam_ros.commands import UsageError


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the parser of the command."""
    parser = commands.add_parser(
        'export',
        help='write the ONNX graphs of a model, in single and half precision (needs torch)',
    )
    parser.add_argument('model', help='name of the model, see `tam models`')
    parser.add_argument('--weights', help="checkpoint file in place of the model's own")
    parser.add_argument('--out', required=True, type=Path, help='folder to create')
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Export into a new folder.

    Raises:
        UsageError: the folder exists, or PyTorch is missing.
        UnknownModelError, WeightsError: the model cannot be opened.
    """
    from tam_ros.loading import find_weights

    model = catalogue.model(options.model)
    weights = find_weights(model, options.weights, 'torch')
    if options.out.exists():
        raise UsageError(f'{options.out} exists; choose another name or remove it')
    try:
        from tam_ros.export.onnx import export_model
    except ModuleNotFoundError as error:
        raise UsageError(
            f'{error.name} is needed to export: pip install torch==2.13.0 onnx'
        ) from error
    print(export_model(model, weights, options.out))
