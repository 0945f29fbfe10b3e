"""`python -m icebreaker.cli`."""

import sys

from icebreaker.cli.main import main

sys.exit(main())
