"""Backends that a device brings along."""
