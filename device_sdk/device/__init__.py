"""What this device is and where, told only as far as allowed, and what it lacks for tunnels."""
