# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""TensorRT: engines built from ONNX graphs on this machine, kept, checked and run; no torch.

An engine in a file is called a plan: native code for one GPU and one TensorRT.
"""
