"""A small recurrent language model: embedding, one GRU layer, tied head."""

import gt
from torch import nn


@gt.register_model("small-gru", scale="TINY")
class SmallGRU(nn.Module):
    """Maps tokens [B, T] to logits [B, T, vocab_size], and goes on from a state if it is given one."""

    def __init__(self, vocab_size, channels=64):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, channels)
        self.gru = nn.GRU(channels, channels, batch_first=True)
        self.head = nn.Linear(channels, vocab_size, bias=False)
        self.head.weight = self.embedding.weight
        nn.init.normal_(self.embedding.weight, std=0.02)

    def forward(self, tokens, state=None, return_states=False):
        """Logits, and with `return_states` the state [B, layers, channels] after the last token."""
        before = None if state is None else state["gru_state"].transpose(0, 1).contiguous()
        out, after = self.gru(self.embedding(tokens), before)
        logits = self.head(out)
        return (logits, {"gru_state": after.transpose(0, 1)}) if return_states else logits
