"""Routes, a blueprint per kind of caller. A view reads the request, calls one use case and answers."""
