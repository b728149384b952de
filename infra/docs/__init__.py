"""The contract document as a page for people: `python -m infra.docs FILE`."""
