# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""`tam review`: writes pages on which a person checks what was labelled."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from tam_ros.commands import UsageError
from tam_ros.new_output import NewOutput

if TYPE_CHECKING:
    from tam_ros.io.frames import FrameSource
    from tam_ros.labelling.state import Record

_FOLDER = 'review'


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the parser of the command."""
    parser = commands.add_parser('review', help='write pages to check what was labelled')
    parser.add_argument(
        'results', type=Path,
        help='output folder of `tam label`; or a bag or a folder of PNG files of `tam track`',
    )  # fmt: skip
    parser.add_argument(
        '--source', type=Path, help='the recording, for pictures; `tam label` knows its own'
    )
    parser.add_argument('--topic', help='image topic of a bag that has several')
    parser.add_argument(
        '--out', type=Path, metavar='NAME.html',
        help='of one recording (default: beside its results)',
    )  # fmt: skip
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Write one page for each recording.

    Raises:
        UsageError: there are no results.
        SourceError: the results or the recording cannot be read.
        OSError: a page cannot be written.
    """
    from tam_ros.io.open_source import open_source
    from tam_ros.labelling.state import is_output_folder
    from tam_ros.review.page import write_review
    from tam_ros.review.results import Results

    if is_output_folder(options.results):
        if options.source or options.out:
            raise UsageError('--source and --out are for the results of one recording')
        _review_job(options.results)
        return
    out = options.out or options.results.with_name(f'{options.results.stem}_review.html')
    source = None if options.source is None else open_source(options.source, options.topic)
    with NewOutput(out) as output:
        text = write_review(Results(options.results), source, options.results.name)
        output.partial.write_text(text, encoding='utf-8')
        output.publish()
    print(out)


def _review_job(folder: Path) -> None:
    from tam_ros.labelling.state import OutputFolder
    from tam_ros.review.page import index_page, write_review
    from tam_ros.review.results import Results

    with OutputFolder(folder) as output:
        pages = {}
        for record in sorted(output.records().values(), key=lambda one: one.name):
            places = (folder / 'bags' / f'{record.name}.mcap', folder / 'masks' / record.name)
            found = next((place for place in places if place.exists()), None)
            if found is None:
                print(f'{record.name}: not reviewed: its job writes neither bag nor png')
                continue
            source, missing = _source_of(record)
            note = ' '.join(filter(None, (record.note, missing)))
            file = f'{record.name}.html'
            text = write_review(Results(found), source, record.name, note)
            output.write_text(f'{_FOLDER}/{file}', [text])
            pages[record.name] = file
        if not pages:
            raise UsageError(f'{folder} has nothing to review')
        output.write_text(f'{_FOLDER}/index.html', [index_page(pages, folder.name)])
    print(folder / _FOLDER / 'index.html')


def _source_of(record: Record) -> tuple[FrameSource | None, str]:
    """Return the recording, or None and what is to be said about it."""
    from tam_ros.io.frames import SourceError
    from tam_ros.io.open_source import open_source

    try:
        return open_source(record.source, record.topic), ''
    except SourceError as error:
        return None, f'no pictures: {error}'
