"""Functions of a few variables, and the drawing of their landscapes."""
