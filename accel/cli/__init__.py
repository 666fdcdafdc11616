"""`python -m accel`: doctor, plan, check, selftest, evidence, bench. Not here: what they do (checks/)."""
