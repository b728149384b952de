"""Ways into the network behind a cloudlet's gateway: namespaces of the app's own, WireGuard, names."""
