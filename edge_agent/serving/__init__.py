"""What the agent serves: its API for roots and devices, and the one inside the tunnels."""
