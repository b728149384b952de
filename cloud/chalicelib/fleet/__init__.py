"""Who is there: cloudlets, their leases, and which of them are near a device."""
