"""The argument parser of the command lines."""

import argparse
from typing import NoReturn


class Parser(argparse.ArgumentParser):
    """Shows a text as it is written, and says in one line what is wrong with the arguments."""

    def __init__(self, description: str | None) -> None:
        formatter = argparse.RawDescriptionHelpFormatter
        super().__init__(description=description, formatter_class=formatter)

    def error(self, message: str) -> NoReturn:
        """Prints the message in one line, and ends the program."""
        self.exit(2, f"{self.prog}: {message}\n")
