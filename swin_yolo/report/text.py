"""Class names made fit to print: one line, nothing that steers a terminal, a known width."""

import unicodedata


def printable(text: str) -> str:
    """`text` with control characters and line breaks as escapes, such as a terminal's colour codes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def display_width(text: str) -> int:
    """Columns that `text` takes in a terminal: Chinese, Japanese and Korean characters take two, accents none."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 0 if unicodedata.combining(c) else 1 for c in text)


def shortened(text: str, width: int) -> str:
    """Printable `text` in at most `width` >= 3 columns, its end cut to "..." where it is longer."""
    text = printable(text)
    if display_width(text) <= width:
        return text
    while display_width(text) > width - 3:
        text = text[:-1]
    return text + "..."


def padded(text: str, width: int) -> str:
    """`text` filled up with spaces to `width` columns, cut where it is longer."""
    text = shortened(text, width)
    return text + " " * (width - display_width(text))
