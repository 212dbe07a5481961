"""A device and a TensorRT that are not there, with the checks that the real ones do not make."""
