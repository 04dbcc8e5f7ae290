"""Jobs that last: their records, the leases on them, and the queues that deliver them."""
