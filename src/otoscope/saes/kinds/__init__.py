"""The kinds of sparse autoencoder: one file each, with its config and its module."""
