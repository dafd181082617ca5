"""Red Queen: a self-hosted streaming service that keeps playing while its servers die."""

__version__ = "0.1.0"
