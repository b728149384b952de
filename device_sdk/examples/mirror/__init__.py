"""An edge-native app, small and whole: a camera's frames go to a backend nearby and come back as outlines.

It shows for every frame the time from motion to photon and where it went. Run `python -m
device_sdk.examples.mirror --help`. The backend is `infra/images/mirror`, shipped as a recipe.
"""
