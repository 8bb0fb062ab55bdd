"""The error of what a user has stopped, which is no mistake and needs no traceback."""


class Interrupted(KeyboardInterrupt):
    """The user has stopped something; the message says how to go on with it.

    As after any interrupt, a notebook that runs all cells stops there.
    """

    def _render_traceback_(self) -> list[str]:
        return [f"Interrupted: {self}"]
