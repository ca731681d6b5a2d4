"""What several kinds of faults need."""

from test_servers import small_disk as small_disk
