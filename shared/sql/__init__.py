"""Scripts of SQL as PostgreSQL's own parser reads them: what a statement does, and what that means."""
