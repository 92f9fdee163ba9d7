"""onboarding-system: invitations, and the short form that makes a user of somebody invited."""

from starlette.routing import BaseRoute, Route

from . import invitations, steps


def routes() -> list[BaseRoute]:
    """The pages that the host application adds to its own."""
    return [
        Route("/invitations", invitations.show, methods=["GET"], name="invitations"),
        Route("/invitations", invitations.submit, methods=["POST"]),
        Route("/onboarding/{token}", steps.show, methods=["GET"], name="onboarding"),
        Route("/onboarding/{token}", steps.submit, methods=["POST"]),
    ]
