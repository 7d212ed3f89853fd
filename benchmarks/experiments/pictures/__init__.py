"""Pictures of what generators make."""
