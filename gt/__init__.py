"""What is measured: models, kernels, data, probes and training.

Importing `gt` loads neither torch nor pytest.
"""

__version__ = "0.1.0"
