"""Sessions of other libraries, read so that nobody has to log in again: one file for each system."""
