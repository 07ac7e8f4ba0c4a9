"""Looking into one text or conversation: how states evolve, where they jump, which facts they still answer."""

from gt.trace.conversation import Conversation, Fact, Turn, read_conversation
from gt.trace.episodes import Drift, Episodes, follow
from gt.trace.evolution import Evolution, Shift, evolve, shifts
from gt.trace.run import ConversationTrace, TextTrace, trace_conversation, trace_text

__all__ = [
    "Conversation",
    "ConversationTrace",
    "Drift",
    "Episodes",
    "Evolution",
    "Fact",
    "Shift",
    "TextTrace",
    "Turn",
    "evolve",
    "follow",
    "read_conversation",
    "shifts",
    "trace_conversation",
    "trace_text",
]
