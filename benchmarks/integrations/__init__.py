"""What sessions cost in each framework, beside the framework's own and those that are made for it."""

from benchmarks.integrations.section import tables

__all__ = ["tables"]
