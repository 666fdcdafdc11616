"""Checkpoints at a distance: what they hold, and the few bytes of them that are asked for.

    release = open_release("hf://deepseek-ai/DeepSeek-V4-Flash")       # release.py: reads the index; a folder will do as well
    release.tensor("layers.3.ffn.gate.weight")                         # the header of one shard, then 2 MB
    fetch(release, plan(release, ["layers.3.ffn.gate"], "flash"))      # fetch.py, plan.py: the same into a folder of ours

Written against the published interface of huggingface.co and tested against a local server that imitates it, its faults
included; huggingface.co itself has not been contacted by the tests.

Not here: the format of one file (weights/file.py), folders on this disk (weights/store.py), printing (cli/fetch.py).
"""
