"""The HTTP door of all services: tokens, problems, idempotency, health. It decides nothing."""
