"""Text that the checks read and models are trained on. Only `batches` imports torch."""
