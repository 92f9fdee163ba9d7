"""A plan as people read it before they opt in."""

import json

from rich.text import Text

from cli.impact_page import kind_style, print_impact, print_way_down
from cli.inbox import CHANGE_STYLES
from cli.output import line, say, text
from cli.policy_page import policy_line
from shared.contracts.facts import Answer, ConfigChange, FileChange, PlannedMigration
from shared.contracts.policies import Rules
from shared.contracts.runs import Plan

RISK_STYLES = {"low": "bold green", "medium": "bold yellow", "high": "bold red"}
_REASONS_MAX = 4
_FILE_SIGNS = {"added": "+", "changed": "~", "deleted": "-"}


def print_plan(plan: Plan, digest: str, rules: Rules | None) -> None:
    """Everything that a maintainer should know, most important first."""
    _print_summary(plan, digest, rules)
    _print_notes(plan)
    _print_review(plan)
    if plan.left_alone:
        _heading("left alone in production's database, as no file of the Project names it")
        say(*(f"  {each}" for each in plan.left_alone))
    _print_files(plan.files)
    _print_config(plan.config)
    _print_migrations(plan.migrations)
    _print_rules(plan)


def print_short(plan: Plan, digest: str, rules: Rules | None) -> None:
    """One screen: the summary, the four answers, and how much changes."""
    _print_summary(plan, digest, rules, reasons_max=_REASONS_MAX)
    review = plan.review
    say(
        f"review: breaks something: {review.breaking.answer}"
        f" · touches the partner's rules: {review.workflow_rules.answer}"
        f" · more tests: {review.more_tests_or_approvals.answer} · required: {review.required.answer}"
    )
    counted = (
        (len(plan.files), "file"),
        (len(plan.config), "configuration key"),
        (len(plan.migrations), "migration"),
    )
    changes = [f"{number} {name}{'' if number == 1 else 's'}" for number, name in counted]
    say(f"changes: {', '.join(changes)}")
    _print_conflicts(plan)


def print_named(plan: Plan, digest: str) -> None:
    """The plan by its name, as it was printed before: what moves, at what risk, where it is read."""
    moves = ", ".join(
        f"{each.system} {each.from_version or '(none)'} → {each.to_version or '(none)'}"
        for each in plan.upgrades
    )
    unsigned = ", ".join(each.system for each in plan.upgrades if not each.signed)
    say(
        line(
            f"plan of {plan.run_id}: {moves}  risk ",
            text(plan.risk, RISK_STYLES[plan.risk]),
            "" if plan.reversibility == "reversible" else text(f", {plan.reversibility.upper()}", "bold red"),
            text(f", UNSIGNED: {unsigned}", "bold red") if unsigned else "",
        ),
        text(f"  digest {digest}", "dim"),
    )


def _print_conflicts(plan: Plan) -> None:
    conflicts = [file.path for file in plan.files if file.conflict]
    if conflicts:
        say(line(text("  will conflict: ", "bold red"), ", ".join(conflicts)))


def _print_summary(plan: Plan, digest: str, rules: Rules | None, reasons_max: int | None = None) -> None:
    """What moves, at what risk, how it is undone, and who decides."""
    say(
        line(text(f"plan of {plan.run_id}", "bold"), f" for {plan.project}"),
        text(f"  digest {digest}", "dim"),
        *([line("  ", policy_line(rules))] if rules else []),
    )
    for upgrade in plan.upgrades:
        say(
            line(
                text(f"  {upgrade.system} ", "bold"),
                upgrade.from_version or "(none)",
                "" if upgrade.from_signed else text(" UNSIGNED", "bold red"),
                f" → {upgrade.to_version or '(none)'}  ",
                text(upgrade.change, CHANGE_STYLES[upgrade.change]),
                "" if upgrade.signed else text("  UNSIGNED", "bold red"),
                f"  {upgrade.summary}",
            )
        )
    say(line(text("risk: ", "bold"), text(plan.risk, RISK_STYLES[plan.risk])))
    say(*(f"  {reason}" for reason in plan.risks[:reasons_max]))
    if (more := len(plan.risks[reasons_max:])) and reasons_max is not None:
        say(text(f"  and {more} more", "dim"))
    _print_way_back(plan)
    print_weaker(plan, rules, reasons_max)


def _print_way_back(plan: Plan) -> None:
    if plan.reversibility == "reversible":
        say(line(text("undone: ", "bold"), "at any stage, with `upgradepath run roll-back`"))
        return
    say(line(text("undone: ", "bold"), text(plan.reversibility.upper(), "bold red"), " once these have run:"))
    say(*(text(f"  {folder}", "red") for folder in plan.irreversible))
    say("  after that only a restore of the backup leads back: upgradepath run roll-back --restore-backup")


def print_weaker(plan: Plan, rules: Rules | None, lines_max: int | None = None) -> None:
    """In which columns production's copy masks less than before, and whose word it needs."""
    if not plan.weaker:
        return
    people = ", ".join(rules.weaken_masks) if rules else "an approver"
    alone = rules is not None and rules.single_person
    more = 0 if lines_max is None else len(plan.weaker[lines_max:])
    say(
        line(text("masks less", "bold red"), " than before in production's copy; asked for a word: ", people),
        *(text(f"  {each}", "yellow") for each in plan.weaker[:lines_max]),
        *([text(f"  and {more} more", "dim")] if more else []),
        "  the start is that word"
        if alone
        else f"  who did not ask for the upgrade accepts: upgradepath run accept-masks {plan.run_id}",
    )


def _heading(title: str) -> None:
    say("", text(title, "bold underline"))


def _print_notes(plan: Plan) -> None:
    for upgrade in plan.upgrades:
        for notes in upgrade.notes:
            _heading(f"{upgrade.system} {notes.version}")
            say(*(f"  {part}" for part in notes.changelog.strip().splitlines()))
            if notes.migration_notes.strip():
                say(text("  how to migrate", "bold"))
                say(*(f"  {part}" for part in notes.migration_notes.strip().splitlines()))


def _print_review(plan: Plan) -> None:
    _heading("review")
    questions: tuple[tuple[str, Answer], ...] = (
        ("Does it break anything?", plan.review.breaking),
        ("Does it touch partner-specific workflow rules?", plan.review.workflow_rules),
        ("Does it need more tests or approvals?", plan.review.more_tests_or_approvals),
        ("Is it required?", plan.review.required),
    )
    for question, answer in questions:
        say(line(f"  {question} ", text(answer.answer, "bold")))
        say(*(f"    {reason}" for reason in answer.because))


def _print_files(files: tuple[FileChange, ...]) -> None:
    _heading(f"files ({len(files)})")
    for file in files:
        marks: list[str | Text] = []
        if file.partner_edited:
            marks.append(text("  edited by the partner", "yellow"))
        if file.conflict:
            marks.append(text("  CONFLICT", "bold red"))
        say(line(f"  {_FILE_SIGNS[file.change]} {file.path}", *marks))
        say(*(f"      {each}" for each in file.dispute.splitlines()))
    if not files:
        say("  none changes")


def _print_config(config: tuple[ConfigChange, ...]) -> None:
    if not config:
        return
    _heading("configuration")
    for change in config:
        name = f"  config/{change.system}.toml {change.key}: "
        if change.kept:
            kept = f"{_value(change.after)} kept, as the Project set it (default {_value(change.default)})"
            say(line(name, text(kept, "yellow")))
        else:
            say(f"{name}{_value(change.before)} → {_value(change.after)}")


def _value(value: object) -> str:
    return "(none)" if value is None else json.dumps(value, ensure_ascii=False)


def _print_migrations(migrations: tuple[PlannedMigration, ...]) -> None:
    if not migrations:
        return
    _heading("migrations")
    for migration in migrations:
        phase = "  after activation" if migration.contracting else ""
        kind = migration.impact.kind if migration.impact else ""
        say(
            line(
                text(f"  {migration.folder}", "bold"), text(f"  {kind}", kind_style(kind)), text(phase, "dim")
            )
        )
        if migration.impact is not None:
            print_impact(migration.impact)
        say(*(text(f"    {part}", "cyan") for part in migration.sql.strip().splitlines()))
        print_way_down(migration)


def _print_rules(plan: Plan) -> None:
    if not plan.rules:
        return
    _heading("workflow rules that depend on what changes")
    say(*(f"  {rule.rule}: {', '.join(rule.depends_on)}" for rule in plan.rules))
