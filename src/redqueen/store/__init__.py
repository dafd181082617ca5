"""Records, objects, jobs and leases, with one contract for every driver."""
