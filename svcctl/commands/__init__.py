"""One file per verb: options, one call, one render. No logic, no SQL, no HTTP."""
