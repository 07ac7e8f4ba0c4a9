"""The models: one block, one model, a fusion that is injected."""
