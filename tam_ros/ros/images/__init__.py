# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Subscriptions to images: what the graph offers, what to subscribe to, and what is missing."""
