"""`python -m learnkit`: the command `learnkit`, where it is not on the path."""

import sys

from learnkit.serve.cli import main

sys.exit(main())
