"""Training of the bundled model ``efficienttam_nano``: clips, training, evaluation."""
