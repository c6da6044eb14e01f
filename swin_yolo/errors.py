"""The error that stands for a mistake in what the user gave us."""


class InputError(ValueError):
    """A file, flag or YAML row that cannot be used.

    The message is one sentence: which file or flag, what was expected, what was got, and the fix. The command line
    prints it on one line and exits with code 2.
    """


def one_line(error: Exception) -> str:
    """The message of another package's exception without line breaks, to be a part of ours."""
    return " ".join(str(error).split())
