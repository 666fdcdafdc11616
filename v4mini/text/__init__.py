"""Text in, token ids out, and back.

    special     names of V4's special tokens, and their ids
    tokenizer   encode, decode, decode as tokens come
    bpe         train a small vocabulary that splits text as V4's does
    stdlib      texts that every reader has, for training and for measuring

Not here: what is done with ids.
"""
