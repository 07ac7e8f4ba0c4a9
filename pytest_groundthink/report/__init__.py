"""What readers of a run see: tables in the terminal, and the verdicts in other plugins' reports."""
