"""Programs to read, and to begin one's own from."""
