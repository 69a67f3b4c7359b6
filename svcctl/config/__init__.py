"""The configuration: TOML to frozen settings, and secrets."""
