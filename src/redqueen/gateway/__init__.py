"""Routes and instances compiled into Envoy's files, and the agent beside each Envoy."""
