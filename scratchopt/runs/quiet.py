"""What Lightning says on its own account, kept from the console."""

import logging
import warnings


def quiet() -> None:
    """Has Lightning say what is worth a warning, and nothing less."""
    for chatty in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    # The processor was asked for; torch's own threads begin without a context; DDP's have streams.
    for said in ("GPU available but not used", ".*no current CUDA context", "The AccumulateGrad"):
        warnings.filterwarnings("ignore", said)
    # Lightning 2.6 asks torch 2.13 in the old way, and nobody here can mend it.
    warnings.filterwarnings("ignore", r".isinstance\(treespec, LeafSpec\)", FutureWarning)
