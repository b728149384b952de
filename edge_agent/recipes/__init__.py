"""From an app to checked manifests: recipes, charts, and what guests may ask for."""
