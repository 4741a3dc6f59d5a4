"""Evaluates the chip at hand: microbenchmarks, reference compressors and counts, and the assay itself."""
