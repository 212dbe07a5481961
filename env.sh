# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0

# Sets up a bash or zsh shell with what `make setup` created: Python, ROS 2, our messages.
#     . ./env.sh
#     TAM_ROS_DISTRO=kilted . ./env.sh    what `make setup ROS_DISTRO=kilted` created
# A ROS installation of the system is left out, even if the shell has it set up.

if [ -n "${BASH_VERSION:-}" ]; then
  _tam_root=${BASH_SOURCE[0]}
elif [ -n "${ZSH_VERSION:-}" ]; then
  # Only zsh can parse this one.
  eval '_tam_root=${(%):-%x}'
else
  # A plain sh does not tell a sourced file its name.
  _tam_root=./env.sh
fi
_tam_root=$(CDPATH= cd -- "$(dirname -- "$_tam_root")" && pwd)
_tam_distro=${TAM_ROS_DISTRO:-jazzy}
_tam_suffix=-$_tam_distro
[ "$_tam_distro" != jazzy ] || _tam_suffix=
_tam_venv=$_tam_root/.venv$_tam_suffix
_tam_install=$_tam_root/build/ros$_tam_suffix/install

if [ ! -f "$_tam_install/.stamp" ] || [ ! -x "$_tam_venv/bin/python" ]; then
  echo "env.sh: nothing is set up in $_tam_root yet; run: make setup${_tam_suffix:+ ROS_DISTRO=$_tam_distro}" >&2
  unset _tam_root _tam_distro _tam_suffix _tam_venv _tam_install
  return 1 2>/dev/null || exit 1
fi

# PATH: ours first, once, and not that of another distribution.
_tam_path=$(printf '%s' "$PATH" | tr ':' '\n' | grep -v "^$_tam_root/\.venv" | tr '\n' ':')
export PATH="$_tam_venv/bin:${_tam_path%:}"
export VIRTUAL_ENV="$_tam_venv"

# The checkout first, so that edits of its modules are live; the generated modules follow.
_tam_python=$(cd "$_tam_install/lib" && echo python3.*)
export PYTHONPATH="$_tam_root:$_tam_install/lib/$_tam_python/site-packages"
unset PYTHONHOME

# Type support libraries are opened by their bare file names. The wheels add their own folders at
# every start of Python, unless this guard variable says that they are already there.
_tam_libraries=$(printf '%s' "${LD_LIBRARY_PATH:-}" | tr ':' '\n' |
  grep -v -e '^/opt/ros/' -e '^$' -e "^$_tam_root/" | tr '\n' ':')
export LD_LIBRARY_PATH="$_tam_install/lib${_tam_libraries:+:${_tam_libraries%:}}"
unset _ROS_WHEELS_BOOTSTRAP_COMPLETE

export AMENT_PREFIX_PATH="$_tam_install:$_tam_venv"
export CMAKE_PREFIX_PATH="$AMENT_PREFIX_PATH"
export ROS_DISTRO=$_tam_distro ROS_VERSION=2 ROS_PYTHON_VERSION=3
# With its defaults Fast DDS silently loses most images of best-effort topics; see config/. Its
# version 3 has another name for the variable.
if [ "$_tam_distro" = jazzy ]; then
  export FASTRTPS_DEFAULT_PROFILES_FILE="$_tam_root/config/fastdds_images.xml"
  unset FASTDDS_DEFAULT_PROFILES_FILE
else
  export FASTDDS_DEFAULT_PROFILES_FILE="$_tam_root/config/fastdds_images.xml"
  unset FASTRTPS_DEFAULT_PROFILES_FILE
fi

unset _tam_root _tam_distro _tam_suffix _tam_venv _tam_install _tam_path _tam_python _tam_libraries
