"""The planner owns every Run: one state machine, one place for approval, deadlines, retries and rollback.

reads   run commands, stage results, release, project and version-map events
writes  run events, stage commands, version-map commands
owns    runs, plans, approvals, timers, fences
"""
