"""Being found by devices on the same network, with no root."""
