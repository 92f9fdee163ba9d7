"""The validator runs a Project's checks against staging. It is told no secret of production.

reads   its stage commands
writes  stage results
owns    stage jobs, leases, check reports
"""
