"""Drives through drawn streets, rendered plainly and richly: pairs for picture enhancement."""
