"""The `sinfonia-agent` command, which comes with every install: runs `__main__.py`, or says what it lacks.

The device SDK is installed without the agent's dependencies; a person who tries the agent then is owed a
sentence, not a traceback.
"""

from __future__ import annotations

import sys


def main() -> int:
    """Run the agent's command line; return its exit status, 2 where the agent is not installed."""
    try:
        from edge_agent.__main__ import main as run
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("edge_agent"):
            raise
        sys.stderr.write(
            f"sinfonia-agent: {error.name} is not installed; pip install 'sinfonia-serverless[agent]'\n"
        )
        return 2
    return run()
