"""Text in, token ids out, and back; a conversation in, one string out, and back.

    special         names of V4's special tokens, and their ids
    tokenizer       encode, decode, decode as tokens come
    bpe             train a small vocabulary that splits text as V4's does
    stdlib          texts that every reader has, for training and for measuring

    marks           special tokens as letters that nobody can type
    chat            a conversation as V4 reads it; chat_messages checks it, instructions adds its fixed texts
    dsml            the markup of tool calls
    parse           an answer taken apart, strictly; chat_stream while it still comes
    stop            texts that end an answer
    conversation    question, answer, question, over a cache that chat_memory keeps between turns

Not here: what is done with ids.
"""
