"""Whose everything is: tenants, their apps and recipes, tokens, quotas and usage."""
