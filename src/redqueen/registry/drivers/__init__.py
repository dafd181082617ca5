"""The registry's hands: probes by TCP, peers by HTTP, snapshots on disk."""
