"""Prisma's own parser and schema engine, run inside this process; fragments of many Systems made one schema."""
