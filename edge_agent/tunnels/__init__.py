"""The WireGuard end of the devices' tunnels: peers, packet rules, names."""
