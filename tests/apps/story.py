"""The application of ``make demo``, for any server."""

import os

from demo.app import build

application = build(os.environ["SESSIONS"])
