"""Cloudlets on the device's own network: asking them, and bringing them what they lack."""
