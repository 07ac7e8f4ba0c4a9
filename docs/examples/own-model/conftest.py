"""Makes `--model small-gru` known."""

import recurrent  # noqa: F401
