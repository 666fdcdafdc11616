"""What can be proven of the kernels without the machines they are for, and the record of what was.

    cases.py         inputs, launch grids and NumPy answers of every kernel, at a tiny size and at Flash's
    plain.py         numbers, with Triton's language in plain NumPy         environment: any
    interpreter.py   numbers in Triton's interpreter                        environment: torch, triton
    nvidia.py        compiled ahead of time for sm_90a and sm_100a          environment: torch, triton
    ascend.py        numbers of Triton-Ascend's lowered code on this CPU, and its compilation for three chips
                                                                            environment: triton-ascend, ascendnpu-ir; no triton
    schemas.py       calls of torch_npu's fused ops against a wheel of torch_npu, by shapes alone     environment: torch
    fused_cases.py   their inputs and NumPy answers
    device.py        all of it on a GPU or an NPU; decode.py: a step in recorded programs
    workers.py       the same, spread over processes
    planted.py       known mistakes, which each of these must notice
    evidence.py      what ran where, on which source, with which versions

Not here: the kernels; speed.
"""
