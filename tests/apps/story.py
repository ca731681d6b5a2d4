"""The application of ``make demo``, for any server and any store."""

from desk import make_store

from demo.app import build

application = build(make_store())
