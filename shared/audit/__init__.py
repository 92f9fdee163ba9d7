"""The audit log: every decision and every refused try, chained by hashes and published."""
