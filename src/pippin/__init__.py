"""Pippin raises foundation models from seed, on any AI chip, and says what each chip is worth."""

from importlib.metadata import version

__version__ = version("pippin")
