"""Functions of a few variables, and pictures of their landscapes."""
