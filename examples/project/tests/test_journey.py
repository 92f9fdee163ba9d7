"""A new customer's way through the portal at UPGRADEPATH_ADDRESS: invited, signed in, quoted, suspended."""

import asyncio
import http.client
import os
import secrets
import unittest
from typing import Any
from urllib.parse import urlencode, urlsplit

import asyncpg
from portal import systems

PASSWORD = "a-long-password"


class Browser:
    """Keeps one cookie; follows nothing."""

    def __init__(self, address: str) -> None:
        self.host = urlsplit(address).netloc
        self.cookie = ""

    def ask(self, method: str, path: str, **form: str) -> tuple[int, str, str]:
        """Status, where to, body."""
        connection = http.client.HTTPConnection(self.host, timeout=10)
        connection.request(method, path, urlencode(form) if form else None, {"Cookie": self.cookie})
        answer = connection.getresponse()
        if cookie := answer.getheader("set-cookie"):
            self.cookie = cookie.split(";")[0]
        body = answer.read().decode()
        connection.close()
        return answer.status, answer.getheader("location") or "", body


@unittest.skipUnless(os.environ.get("UPGRADEPATH_ADDRESS"), "needs the running portal")
class NewCustomer(unittest.TestCase):
    def setUp(self) -> None:
        systems.load_all()
        self.email = f"journey-{secrets.token_hex(4)}@acme.invalid"
        self.browser = Browser(os.environ["UPGRADEPATH_ADDRESS"])
        self.addCleanup(self.forget)

    def on_database(self, action: Any) -> Any:
        """Run `await action(connection)`."""

        async def run() -> Any:
            connection = await asyncpg.connect(os.environ["DATABASE_URL"], timeout=10)
            try:
                return await action(connection)
            finally:
                await connection.close()

        return asyncio.run(run())

    def forget(self) -> None:
        """Leave the database as it was."""

        async def delete(connection: Any) -> None:
            for statement in (
                "delete from crm_exports where email = $1",
                "delete from notices where recipient = $1",
                "delete from invitations where email = $1",
                "delete from users where email = $1",
            ):
                await connection.execute(statement, self.email)

        self.on_database(delete)

    def test_from_the_invitation_to_the_quote(self) -> None:
        invite = systems.load("onboarding-system").invitations.invite
        link = "/onboarding/" + self.on_database(lambda connection: invite(connection, self.email, None))
        ask = self.browser.ask
        self.assertEqual(ask("POST", link, name="Jo Journey")[:2], (303, link))
        self.assertEqual(ask("POST", link, company="Journey Ltd", phone="030 555 0100")[:2], (303, link))
        self.assertEqual(ask("POST", link, password="short")[0], 422)
        self.assertEqual(ask("POST", link, password=PASSWORD)[:2], (303, "/signin"))
        self.assertEqual(ask("GET", link)[0], 410)

        self.assertEqual(ask("GET", "/quotes")[0], 303)
        self.assertEqual(ask("POST", "/signin", email=self.email, password=PASSWORD)[:2], (303, "/signed-in"))
        self.assertIn(self.email, ask("GET", "/signed-in")[2])
        self.assertIn("Good to have you here, Jo Journey.", ask("GET", "/notices")[2])
        self.assertEqual(ask("POST", "/quotes", product="desk", quantity="10")[:2], (303, "/quotes"))
        self.assertIn("10 × desk: 2365.50 EUR", ask("GET", "/quotes")[2])
        line = self.on_database(
            lambda connection: connection.fetchval(
                "select line from crm_exports where email = $1", self.email
            )
        )
        self.assertTrue(line.endswith(f";{self.email};desk;10;2365.50"), line)

        self.suspend()
        self.assertEqual(ask("POST", "/quotes", product="desk", quantity="1")[0], 403)
        self.assertEqual(ask("POST", "/signout")[:2], (303, "/signin"))
        self.assertIn("suspended", ask("POST", "/signin", email=self.email, password=PASSWORD)[2])

    def suspend(self) -> None:
        """As an Acme clerk would."""
        users = systems.load("auth-system").users

        async def change(connection: Any) -> None:
            await users.suspend(connection, (await users.by_email(connection, self.email)).id)

        self.on_database(change)


if __name__ == "__main__":
    unittest.main()
