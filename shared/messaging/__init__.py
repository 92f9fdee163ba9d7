"""From a topic into one transaction, and from its outbox to the topics: one way for all services."""
