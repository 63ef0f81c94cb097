"""Worker processes: how they are started, what they are sent, and what becomes of the others when one fails."""
