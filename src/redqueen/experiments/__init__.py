"""Flags and A/B tests: values that differ between viewers, served by OFREP and judged as trials."""
