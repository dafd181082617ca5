"""What nodes run on: processes of this machine."""
