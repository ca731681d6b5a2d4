"""A million sessions in PostgreSQL: what a load takes among them, and who waits while half of them are removed."""

from benchmarks.millions.section import tables

__all__ = ["tables"]
