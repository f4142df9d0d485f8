"""Why a difference is there: a catalogue of known causes, and what shows each of them."""

from rbuild.compare.causes.catalogue import CATALOGUE
from rbuild.compare.causes.find import find

__all__ = ["CATALOGUE", "find"]
