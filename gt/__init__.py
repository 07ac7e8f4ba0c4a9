"""What is measured: models, kernels, data, probes and training.

Importing `gt` loads neither torch nor pytest; the names below import what they need on first use.
"""

__version__ = "0.1.0"
