"""Cost, quality and throughput of this library, measured on the machine at hand."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
