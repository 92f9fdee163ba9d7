"""The pages to sign in, to see that it worked, and to sign out."""

from pathlib import Path
from urllib.parse import parse_qsl

from starlette.authentication import requires
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from . import sessions, settings, users

TEMPLATES = Path(__file__).parent / "templates"


async def form(request: Request) -> Response:
    """Show the form; Acme's mails link to it with the customer's address filled in."""
    page = request.app.state.page
    email = request.query_params.get("email", "")
    return page(TEMPLATES / "signin.html", title="Sign in", email=email, message="")


def refused(request: Request, email: str, message: str) -> Response:
    """Show the form again, with the reason."""
    page = request.app.state.page
    return page(TEMPLATES / "signin.html", status=403, title="Sign in", email=email, message=message)


async def submit(request: Request) -> Response:
    """Check address and password, open a session and set its cookie."""
    database = request.app.state.database
    given = dict(parse_qsl((await request.body()).decode("utf-8", "replace")))
    email = given.get("email", "").strip().lower()
    user = await users.by_email(database, email)
    if not users.password_matches(user, given.get("password", "")) or user is None:
        return refused(request, email, "Address and password do not match.")
    if user.suspended:
        return refused(request, email, "This account is suspended.")

    config = settings.read()
    minutes = config["session_minutes"]

    # Customers who come from a tender fill in forms for an hour.
    session = await sessions.open_session(database, user.id, max(minutes, 60))

    answer = RedirectResponse("/signed-in", status_code=303)
    answer.set_cookie(
        config["cookie_name"], session.token, max_age=minutes * 60, httponly=True, samesite="lax"
    )
    return answer


@requires("signed-in", redirect="signin")
async def confirmation(request: Request) -> Response:
    """Say who has signed in, and until when."""
    return request.app.state.page(
        TEMPLATES / "signed_in.html",
        title="Signed in",
        email=request.user.identity,
        expires=f"{request.user.session.expires_at:%H:%M} UTC",
    )


async def sign_out(request: Request) -> Response:
    """Close the session and forget its cookie."""
    cookie = settings.read()["cookie_name"]
    await sessions.close_session(request.app.state.database, request.cookies.get(cookie, ""))
    answer = RedirectResponse("/signin", status_code=303)
    answer.delete_cookie(cookie)
    return answer
