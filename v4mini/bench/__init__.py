"""Speed, measured: this machine's ceilings, our engines and Hugging Face beside each other, a million tokens.

Times are ratios within one run; no test asserts one. Not here: what the FLOPs should be (planning/flops.py), printing (cli/).
"""
