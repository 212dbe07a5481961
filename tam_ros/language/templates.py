# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Sentences in which a text is embedded before it is encoded.

CLIP was trained with captions, so a single word is unusual input. Radford et al. (arXiv
2103.00020, section 3.1.4) average the features of a word in many sentences. These sentences say
what a robot's camera sees; they are our own.
"""

from __future__ import annotations

from collections.abc import Sequence

TEMPLATES = (
    'a photo of a {}.',
    'a photo of the {}.',
    'a photo of one {}.',
    'a close-up photo of a {}.',
    'a photo of a small {}.',
    'a photo of a large {}.',
    'a photo of a part of a {}.',
    'a blurry photo of a {}.',
    'a dark photo of a {}.',
    'a bright photo of a {}.',
    'a cropped photo of a {}.',
    'a camera image of a {}.',
    'there is a {} in the scene.',
    'a {} in a room.',
    'a {} on a table.',
    'a {} outdoors.',
)
_ARTICLES = ('a ', 'an ', 'the ')


def sentences(text: str, templates: Sequence[str] = TEMPLATES) -> list[str]:
    """Return a text in every template.

    Args:
        text: a word or a few; an article at its beginning is dropped, as the templates have one.
        templates: with `{}` for the text. Empty: the text alone, as it is.
    """
    if not templates:
        return [text]
    bare = text.strip()
    for article in _ARTICLES:
        if bare.lower().startswith(article):
            bare = bare[len(article) :].lstrip()
            break
    return [template.replace('{}', bare) for template in templates]
