"""`python -m device_sdk.cli`."""

import sys

from device_sdk.cli.command import main

sys.exit(main())
