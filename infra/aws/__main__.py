"""`python -m infra.aws root|tables|policy`: print one of the documents that AWS is given.

Called by `setup/package` (root), and by people (tables, for `chalice deploy`; policy, to bring
`cloud/.chalice/policy.json` up to date).
"""

import argparse
import json
import sys

from infra.aws.policy import for_chalice
from infra.aws.template import root_template, tables_template

DOCUMENTS = {"root": root_template, "tables": tables_template, "policy": for_chalice}


def main() -> int:
    """Print the document as JSON."""
    parser = argparse.ArgumentParser(prog="python -m infra.aws", description=__doc__.splitlines()[0])
    parser.add_argument("document", choices=DOCUMENTS)
    print(json.dumps(DOCUMENTS[parser.parse_args().document](), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
