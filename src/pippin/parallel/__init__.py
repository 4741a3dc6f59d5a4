"""The mesh, the sharding rules, and what needs a mesh: exchanges, ring attention, the pipeline."""
