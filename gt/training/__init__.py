"""Training: the optimiser and step that checks share, and the loop behind `groundthink train`."""
