"""The fonts that have the characters of a class name, out of those that the machine has."""

from functools import lru_cache

from matplotlib import font_manager

# DejaVu Sans comes with matplotlib (Latin, Greek, Cyrillic, Arabic); the others have Chinese, Japanese and Korean.
FAMILIES = (
    "DejaVu Sans",
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Source Han Sans SC",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "Microsoft YaHei",
    "SimHei",
    "PingFang SC",
    "Hiragino Sans GB",
    "Arial Unicode MS",
)


@lru_cache(maxsize=1)
def font_families() -> tuple[str, ...]:
    """Those of `FAMILIES` that are installed, for matplotlib to try one after the other."""
    installed = {entry.name for entry in font_manager.fontManager.ttflist}
    return tuple(family for family in FAMILIES if family in installed)


@lru_cache(maxsize=1024)
def font_file(text: str) -> str:
    """Path of the first installed font that has every character of `text`; DejaVu Sans where none has."""
    files = [font_manager.findfont(family) for family in font_families()]
    needed = {ord(character) for character in text if character.isprintable()}
    return next((file for file in files if needed <= _characters(file)), files[0])


@lru_cache(maxsize=len(FAMILIES))
def _characters(file: str) -> frozenset[int]:
    return frozenset(font_manager.get_font(file).get_charmap())
