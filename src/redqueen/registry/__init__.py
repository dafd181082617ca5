"""Who is alive: leases, replication, the Eureka v2 wire and the push stream."""
