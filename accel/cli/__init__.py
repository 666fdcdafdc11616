"""`python -m accel`: doctor, plan, check, schemas, selftest, evidence, bench, ranks. Not here: what they do (checks/)."""
