"""What the networks are asked to minimise."""
