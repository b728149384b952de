"""Deployments: what they are, how they live and end. Knows no runtime, no gateway and no root."""
