"""The few errors that a user meets: one line each that says what, where, expected, found, and what to do.

Stage shells print them without a traceback and exit with 1 (`LockedError`: 75). Anything else is a bug and keeps its
traceback.
"""


class SonoSynthError(Exception):
    """Base of all expected errors; never raised itself."""


class DataError(SonoSynthError):
    """An image, a mask, a table or a set of cases is not what the work needs."""


class ParamsError(SonoSynthError):
    """A value in params.yaml or on a command line is unknown, missing or out of range."""


class ArtifactError(SonoSynthError):
    """A file between stages is missing, altered, torn or of a foreign kind."""


class NumericsError(SonoSynthError):
    """A loss, a latent or a statistic left the range in which the work means something."""


class RefusedError(SonoSynthError):
    """A gate said no: the inputs are sound, but what they say forbids this step."""


class LockedError(SonoSynthError):
    """Another process holds the stage."""
