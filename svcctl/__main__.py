"""`python -m svcctl`."""

import sys

from svcctl.cli import main

sys.exit(main())
