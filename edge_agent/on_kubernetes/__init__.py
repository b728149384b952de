"""Backends on Kubernetes."""
