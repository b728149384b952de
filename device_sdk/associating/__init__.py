"""Staying with an app: watching its backend, finding another one, and going there before the old is left."""
