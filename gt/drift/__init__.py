"""How two checkpoints differ: in their weights, and in what they do with the same text."""
