"""Training many autoencoders in one pass over the data, and what is looked at before and after.

The step itself (forward, gradient, Adam) is in `otoscope.saes.fast.step`.
"""
