"""What the root needs at AWS besides its function, as CloudFormation: `python -m infra.aws --help`."""
