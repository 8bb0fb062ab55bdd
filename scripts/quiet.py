"""What Lightning says on its own account, kept from the console."""

import logging
import warnings


def quiet() -> None:
    """Has Lightning say what is worth a warning, and nothing less."""
    for chatty in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    # Lightning 2.6 asks torch 2.13 in the old way, and nobody here can mend it.
    warnings.filterwarnings("ignore", r".isinstance\(treespec, LeafSpec\)", FutureWarning)
