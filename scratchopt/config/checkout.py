"""The checkout that the library lies in: conf/, scripts/ and tasks/ are beside it."""

from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
CONF = CHECKOUT / "conf"
