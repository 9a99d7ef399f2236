"""Tests that others have done before, one TOML file a protocol: what is tested by which model, and what is scored."""
