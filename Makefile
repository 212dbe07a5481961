# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0

# Everything runs in .venv and build/, which `make setup` creates; nothing outside this folder is changed. Another
# distribution than Jazzy has its own .venv-DISTRO and build/ros-DISTRO.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup demo play test lint sbom audit clean

# Passed through the environment, so that file names may contain spaces and quotes.
export PYTHON VIDEO PROMPTS CAMERA PHONE PYTEST_ARGS QUICK ALL JOBS
# Only from the command line: a shell with a ROS installation of the system has ROS_DISTRO set as well.
ifeq ($(origin ROS_DISTRO),command line)
TAM_ROS_DISTRO := $(ROS_DISTRO)
endif
export TAM_ROS_DISTRO

help:
	@echo 'make demo     track two objects in a drawn clip with a real ROS 2 graph; results in demo_output/'
	@echo '              your own clip: VIDEO=file (video, image folder or bag)'
	@echo "                        PROMPTS='1:point:320,240;2:box:40,60,200,180'"
	@echo 'make play     the same clip in a loop, and a page on which you click objects; VIDEO=... as well,'
	@echo '              or a webcam: CAMERA=0; PHONE=1: phones in the network can open the page'
	@echo 'make test     the whole test suite; QUICK=1: the daily subset; ALL=1: every size of every'
	@echo '              model as well; JOBS=2: processes, 0: none besides pytest itself; PYTEST_ARGS=...'
	@echo 'make setup    only set up: .venv, ROS 2 Jazzy, our messages (PYTHON=python3.12 to choose)'
	@echo '              each of them with ROS_DISTRO=kilted: the same with ROS 2 Kilted, in .venv-kilted'
	@echo 'make lint     ruff (rules and format), mypy (types)'
	@echo 'make sbom     bill of materials of .venv, in the CycloneDX format: sbom.json'
	@echo 'make audit    look for known holes in what is installed in .venv; needs a connection'
	@echo 'make clean    remove everything that was created here'
	@echo '. ./env.sh    sets up a shell: python, tam, ROS 2'

setup:
	@scripts/setup.sh

demo:
	@scripts/setup.sh
	@. ./env.sh && exec python -m tam_ros.demo $${VIDEO:+--video "$$VIDEO"} $${PROMPTS:+--prompts "$$PROMPTS"}

play:
	@scripts/setup.sh --page
	@. ./env.sh && exec python -m tam_ros.demo.play $${VIDEO:+--video "$$VIDEO"} $${CAMERA:+--camera "$$CAMERA"} \
	  $${PHONE:+--host 0.0.0.0}

test:
	@scripts/setup.sh --test
	@. ./env.sh && if [ -n "$$QUICK" ] && [ "$$QUICK" != 0 ]; then set -- -m 'not slow'; \
	  elif [ -n "$$ALL" ] && [ "$$ALL" != 0 ]; then set -- -m ''; else set --; fi; \
	  exec python -m pytest -n "$${JOBS:-2}" --dist loadgroup --no-loadscope-reorder "$$@" $$PYTEST_ARGS

lint:
	@scripts/setup.sh --test
	@. ./env.sh && python -m ruff check . && python -m ruff format --check . && exec python -m mypy

sbom:
	@scripts/setup.sh
	@. ./env.sh && exec python scripts/supply_chain.py sbom

audit:
	@scripts/setup.sh
	@. ./env.sh && exec python scripts/supply_chain.py audit

clean:
	rm -rf .venv .venv-* build demo_output sbom.json *.egg-info .pytest_cache .ruff_cache .mypy_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
