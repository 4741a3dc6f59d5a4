"""The pretraining engine: step, loop, optimiser, checkpoints, ledger, metrics, sampling from a run."""
