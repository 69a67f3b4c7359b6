"""The database: SQLModel describes it, Core statements do the work. Nobody else knows SQLAlchemy."""
