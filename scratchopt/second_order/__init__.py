"""Second derivatives, and the systems that Newton solves with them."""
