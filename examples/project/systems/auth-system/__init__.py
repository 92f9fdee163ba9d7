"""auth-system: users, sessions, and the pages to sign in and out."""

from starlette.routing import BaseRoute, Route

from . import signin


def routes() -> list[BaseRoute]:
    """The pages that the host application adds to its own."""
    return [
        Route("/signin", signin.form, methods=["GET"], name="signin"),
        Route("/signin", signin.submit, methods=["POST"]),
        Route("/signed-in", signin.confirmation, methods=["GET"], name="signed-in"),
        Route("/signout", signin.sign_out, methods=["POST"], name="signout"),
    ]
