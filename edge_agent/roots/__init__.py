"""The roots that the cloudlet serves: registration, keepalives, commands, usage."""
