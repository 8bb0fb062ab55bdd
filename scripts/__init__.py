"""Entry points; a package, so that another one of this name elsewhere does not hide it."""
