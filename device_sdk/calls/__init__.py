"""Asking roots and cloudlets for backends."""
