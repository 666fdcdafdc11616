"""Small exercises made from nothing, beside the text: copying, closing brackets, sums.

Each is one sequence of ids and a mark for every token that can be known from those before it.
Not here: facts and questions (facts.py), how much of each (recipe.py).
"""

import numpy as np

PAIRS = ("()", "[]", "{}")


def copying(rng, text, tokenizer, tokens):              # -> ids [tokens], is_answer [tokens]
    """Pieces of text, each twice in a row with a new line between: the second time can be copied."""
    row, answers = [], []
    newline = tokenizer.encode("\n")
    while len(row) < tokens:
        length = int(rng.integers(4, 33))
        start = int(rng.integers(len(text) - length))
        piece = text[start: start + length].tolist()
        row += piece + newline + piece + newline
        answers += [False] * (length + len(newline) + 1) + [True] * (length - 1) + [False] * len(newline)
    return np.array(row[:tokens]), np.array(answers[:tokens])


def brackets(rng, text, tokenizer, tokens):             # -> ids [tokens], is_answer [tokens]
    """Lines of brackets in brackets: which one closes is known, where it may close is not."""
    row, answers = [], []
    opening, closing = ([tokenizer.encode(pair[side])[0] for pair in PAIRS] for side in (0, 1))
    newline = tokenizer.encode("\n")
    while len(row) < tokens:
        stack = []
        left = int(rng.integers(2, 13))
        while left or stack:
            if left and (not stack or rng.random() < 0.55):
                stack.append(int(rng.integers(len(PAIRS))))
                row.append(opening[stack[-1]])
                left -= 1
                answers.append(False)
            else:
                row.append(closing[stack.pop()])
                answers.append(left == 0)               # with openings left it might as well open
        row += newline
        answers += [False] * len(newline)
    return np.array(row[:tokens]), np.array(answers[:tokens])


def sums(rng, text, tokenizer, tokens):                 # -> ids [tokens], is_answer [tokens]
    """Lines such as 47+8=55, numbers below 100."""
    row, answers = [], []
    while len(row) < tokens:
        a, b = (int(n) for n in rng.integers(0, 100, 2))
        question = tokenizer.encode(f"{a}+{b}=")
        answer = tokenizer.encode(f"{a + b}\n")
        row += question + answer
        answers += [False] * len(question) + [True] * len(answer)
    return np.array(row[:tokens]), np.array(answers[:tokens])
