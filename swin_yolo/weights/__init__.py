"""Reading checkpoints safely, and their weights into our models."""

from .inert import Refused
from .load import load_weights
from .read import Checkpoint, read_checkpoint
from .rebuild import load_model, rebuild
from .report import LoadReport, format_report
from .store import convert, strip_checkpoint, to_checkpoint, to_safetensors, training_state

__all__ = [
    "Checkpoint",
    "LoadReport",
    "Refused",
    "convert",
    "format_report",
    "load_model",
    "load_weights",
    "read_checkpoint",
    "rebuild",
    "strip_checkpoint",
    "to_checkpoint",
    "to_safetensors",
    "training_state",
]
