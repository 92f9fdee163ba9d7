"""Prisma's own parser and schema engine, run inside this process, and one schema out of many fragments."""
