"""PostgreSQL as the services use it: one engine, one transaction per message, one clock."""
