# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The commands of `tam`, one file each.

A command's module offers two functions:

- `add(commands)` describes it: it adds a sub-parser whose default `run` is the module's own. All
  of them are called whenever `tam` starts, so that they import nothing heavy.
- `run(options)` does it, and imports what it takes. It returns nothing; input that cannot be used
  raises one of the errors that `tam_ros.cli` knows, whose message the user reads.
"""


class UsageError(ValueError):
    """Arguments that do not make sense together, or a result that cannot go where it is to go."""
