"""Looking into one text or conversation: how states evolve, where they jump, which facts they still answer."""

from gt.trace.conversation import Conversation, Fact, Turn, read_conversation
from gt.trace.episodes import Drift, Episodes, follow
from gt.trace.evolution import Evolution, Shift, evolve, shifts

__all__ = [
    "Conversation",
    "Drift",
    "Episodes",
    "Evolution",
    "Fact",
    "Shift",
    "Turn",
    "evolve",
    "follow",
    "read_conversation",
    "shifts",
]
