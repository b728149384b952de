"""ST-2, the cloudlet agent: offers this machine to roots and devices, and runs backends for them."""
