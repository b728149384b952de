"""Provisioning by value: a device brings recipe, chart and images along, where nothing can be fetched."""
