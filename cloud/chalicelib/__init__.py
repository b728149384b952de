"""ST-1, the root: everything behind the routes of `app.py`."""
