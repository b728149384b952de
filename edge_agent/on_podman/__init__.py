"""Backends on Podman, without a cluster."""
