"""What sessions cost on each engine, beside its bare driver and beside the peers that use it."""

from benchmarks.engines.section import tables

__all__ = ["tables"]
