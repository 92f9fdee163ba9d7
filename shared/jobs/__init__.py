"""A stage is a journalled effect: jobs are leased, fenced, heartbeaten, and answered once."""
