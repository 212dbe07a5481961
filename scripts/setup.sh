#!/usr/bin/env bash
# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
# Finds a Python for which ROS wheels exist, and runs setup_environment.py with it.
# The interpreter can be chosen: PYTHON=python3.12 scripts/setup.sh
set -eu
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

suitable() {
  "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null
}

if [ -n "${PYTHON:-}" ]; then
  if ! suitable "$PYTHON"; then
    echo "setup: PYTHON=$PYTHON does not run as Python 3.10, 3.11 or 3.12" >&2
    exit 1
  fi
  exec "$PYTHON" "$here/setup_environment.py" --python-chosen "$@"
fi
for candidate in python3 python3.12 python3.11 python3.10 python \
  "${PYENV_ROOT:-${HOME:-/root}/.pyenv}"/versions/3.1[012].*/bin/python; do
  if suitable "$candidate"; then
    exec "$candidate" "$here/setup_environment.py" "$@"
  fi
done
cat >&2 <<'END'
setup: no Python 3.10, 3.11 or 3.12 found (ROS 2 Jazzy wheels exist for these). On Ubuntu 22.04, 24.04 or
       Debian 12 install it with
           sudo apt-get install python3 python3-venv python3-dev
       elsewhere with pyenv or uv, and name it: make setup PYTHON=/path/to/python3.12
END
exit 1
