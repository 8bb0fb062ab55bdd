"""The checkout that the library lies in: conf/, scripts/ and tasks/ are beside it."""

from pathlib import Path

from scratchopt.config.fields import UserError

CHECKOUT = Path(__file__).resolve().parents[2]
CONF = CHECKOUT / "conf"


def check_checkout() -> None:
    """Refuses to begin where the library lies alone, as a wheel installs it.

    Raises:
        UserError: with the remedy.
    """
    if not CONF.is_dir():
        raise UserError(
            f"{CHECKOUT}: has no conf/ and tasks/, which belong to the checkout; install that, by "
            "pip install -e"
        )
