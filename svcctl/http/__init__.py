"""Speaking HTTP to remotes: one small client on requests, and what protocols build on it."""
