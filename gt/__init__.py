"""What is measured: models, kernels, data, probes and training.

Importing `gt` loads neither torch nor pytest.
"""

from gt.user_models import register_model

__all__ = ["__version__", "register_model"]

__version__ = "0.1.0"
