"""Which of the cloudlets nearby a device gets: requirements, matchers and what devices measured."""
