# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The commands of `tam`, one file each.

The module of a command has two functions:

- `add(commands)` adds the sub-parser, whose default `run` is the module's. It is called for every
  command whenever `tam` starts, so the module imports nothing heavy at its top level.
- `run(options)` runs the command and imports what it needs. For input that cannot be used it
  raises one of the errors listed in `tam_ros.cli`, whose message is printed.

Options that several commands share are in `backend.py`.
"""


class UsageError(ValueError):
    """Inconsistent arguments, or an output that cannot be written."""
