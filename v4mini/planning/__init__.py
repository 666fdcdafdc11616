"""Whatever has a unit: parameters, bytes, FLOPs. Each formula stands beside its derivation. Not here: running a model."""
