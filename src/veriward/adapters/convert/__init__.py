"""Conversion of checkpoints to safetensors: in a confined child process, with stand-ins for classes nobody knows."""

from .convert import Converted, convert

__all__ = ["Converted", "convert"]
