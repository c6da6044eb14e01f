"""What this package costs in time and memory, beside what its users would take instead; measured in turns."""

from .run import SECTIONS, benchmark

__all__ = ["SECTIONS", "benchmark"]
