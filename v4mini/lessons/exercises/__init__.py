"""The course's exercises, one file a lesson: l02_rope.py belongs to notebooks/02_*.ipynb.

A file holds EXERCISES, a list of lessons.exercise.Exercise, and is found by its name: nothing lists it.
Not here: the text of a task (the notebook), judging (lessons/verdict.py).
"""
