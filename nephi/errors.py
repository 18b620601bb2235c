"""The few exceptions a caller can catch, each with the exit code the command line ends with."""

from __future__ import annotations


class NephiError(Exception):
    """Base of every error that nephi raises on purpose; its text is one line for the user."""

    exit_code = 1


class UsageError(NephiError):
    """The call is wrong: an unknown name, arguments that do not go together, a shape that cannot be."""

    exit_code = 2


class DataError(NephiError):
    """The data is wrong: a missing, damaged or unsuitable file, image, mask, transform or setting."""

    exit_code = 3
