"""Keep people's accounts on many services in step with one local directory."""

__version__ = "0.1.0"
