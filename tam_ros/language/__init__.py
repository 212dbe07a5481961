# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Words for what is in an image: where a text is, and what a tracked object is called."""

from tam_ros.language.dense_clip import DenseClip, ImageError
from tam_ros.language.dense_options import DenseOptions
from tam_ros.language.regions import Find, Finds
from tam_ros.language.text_features import TextError, TextFeatures

__all__ = [
    'DenseClip',
    'DenseOptions',
    'Find',
    'Finds',
    'ImageError',
    'TextError',
    'TextFeatures',
]
