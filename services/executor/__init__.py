"""The executor does what changes a Project: branches, databases, staging, production, and the way back.

reads   its stage commands
writes  stage results
owns    stage jobs, leases, the effect journal
"""
