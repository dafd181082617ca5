"""Public doubles and emulators: virtual clock, in-memory drivers, a viewer."""
