"""A Project's policy as every page shows it, and a change of it that waits."""

from rich.text import Text

from cli.output import line, say, text, when
from shared.contracts.policies import Rules, Word
from shared.contracts.registrations import Proposal, RegistrationProposed
from shared.deciding import described, details


def policy_line(rules: Rules, width: int = 0) -> Text:
    """The policy in one line; that one person decides alone stands out."""
    style = "bold yellow" if rules.single_person else ""
    return line(text("policy".ljust(width) + "  ", "dim"), text(described(rules), style))


def print_policy(rules: Rules) -> None:
    """The policy with everything that it says."""
    say(line("  ", policy_line(rules, 10)))
    say(*(f"              {each}" for each in details(rules)))


def print_proposal(proposal: Proposal) -> None:
    """A change that waits, and the command that confirms it."""
    given = ", ".join(word.by for word in proposal.words) or "none yet"
    say(
        line(text("a change waits: ", "bold yellow"), ", ".join(proposal.changes)),
        f"  proposed by {spoken(proposal.proposed)}",
        f"  {len(proposal.words)} of {proposal.needed} approvers have agreed: {given}",
        f"  digest {proposal.digest}",
        f"  upgradepath project confirm {proposal.project.id}",
    )


def print_proposed(document: object) -> bool:
    """Print the answer if it is a change that waits; whether it was."""
    if not isinstance(document, dict) or "proposal" not in document:
        return False
    print_proposal(RegistrationProposed.model_validate(document).proposal)
    return True


def spoken(word: Word) -> str:
    """Who agreed and when."""
    return f"{word.by} ({word.role}), {when(word.at)}"
