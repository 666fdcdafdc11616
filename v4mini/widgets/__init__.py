"""Views that answer to a hand, for notebooks; they need the extra [lab], and `import v4mini` brings none of them.

Not here: pictures and tables from plain arrays (viz/).
"""
