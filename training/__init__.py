# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Training of the bundled model `efficienttam_nano`: clips, training, evaluation."""
