"""The backward of each operation, derived by hand: same file name, same function as in ops/, given the gradient of its answer.

`g` is the gradient of the loss with respect to what the operation returned, g_x that with respect to its input x. Each
function gives back the gradients of the operation's array inputs, in their order. Not here: who calls whom (tape.py).
"""
