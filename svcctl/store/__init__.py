"""The database: SQLModel describes it, Core statements do the work; nobody else knows either."""
