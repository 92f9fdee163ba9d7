"""The planner's tables and queries."""

from services.planner.store.tables import PLANNER_TABLES, ProjectRow, ReleaseRow, RunRow
from services.planner.store.transaction import PlannerTransaction

__all__ = ["PLANNER_TABLES", "PlannerTransaction", "ProjectRow", "ReleaseRow", "RunRow"]
