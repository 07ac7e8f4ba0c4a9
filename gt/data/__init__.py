"""Text and conversations that the checks read: corpora, canary dialogues and their scorers. No torch."""
