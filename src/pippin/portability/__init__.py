"""Proves that a training step runs on chips that are not here, as far as that can be proved without them."""
