"""Architectures as plain pytrees, their configuration, counts and decoding."""
