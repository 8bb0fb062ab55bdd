"""An error as one line."""

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException


def one_line(error: Exception) -> str:
    """The message, folded, without the places where Hydra looked."""
    message = str(error).partition("Config search path:")[0]
    override = getattr(error, "override", None)  # of a parse error: not always in the message
    if override and override not in message:
        message = f"{override}: {message}"
    if isinstance(error, HydraException) and isinstance(error.__cause__, OmegaConfBaseException):
        message = f"{message} ({str(error.__cause__).splitlines()[0]})"
    return " ".join(message.split())
