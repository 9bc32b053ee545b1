"""Hostile videos and releases, and a watch over what the package does with them."""
