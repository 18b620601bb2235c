"""The networks of models: modules from images to tensors, without a meaning as deformations."""
