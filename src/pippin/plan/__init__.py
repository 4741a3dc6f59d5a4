"""The planner: what a pretraining run would take on a fleet. Arithmetic on arrays, without JAX."""
