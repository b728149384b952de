"""Having the chosen cloudlets run a backend, and knowing afterwards where it runs."""
