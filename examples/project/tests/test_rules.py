"""What can be tried without a database: prices, passwords, export lines, guards, pages."""

import unittest
from pathlib import Path
from types import SimpleNamespace

from portal import crm, systems, workflows
from portal.main import create_app
from portal.pages import page

systems.load_all()
pricing = systems.load("quote-engine").pricing
rules = systems.load("quote-engine").quotes.rules()
users = systems.load("auth-system").users


class Prices(unittest.TestCase):
    def test_a_larger_quantity_gets_the_better_discount(self) -> None:
        self.assertEqual(pricing.total_cents(rules, "desk", 9), 9 * 24900)
        self.assertEqual(pricing.total_cents(rules, "desk", 10), 236550)
        self.assertEqual(pricing.total_cents(rules, "desk", 50), 1095600)

    def test_no_quote_is_below_the_minimum(self) -> None:
        self.assertEqual(pricing.total_cents(rules, "lamp", 1), 5000)

    def test_what_cannot_be_quoted_is_said(self) -> None:
        for product, quantity in (("sofa", 1), ("desk", 0), ("desk", 10_001)):
            with self.subTest(product=product, quantity=quantity), self.assertRaises(ValueError):
                pricing.total_cents(rules, product, quantity)


class Passwords(unittest.TestCase):
    def test_only_the_same_password_matches(self) -> None:
        user = SimpleNamespace(password_hash=users.hash_password("correct horse"))
        self.assertTrue(users.password_matches(user, "correct horse"))
        self.assertFalse(users.password_matches(user, "wrong horse"))
        self.assertFalse(users.password_matches(None, "correct horse"))

    def test_a_masked_hash_matches_nothing(self) -> None:
        self.assertFalse(users.password_matches(SimpleNamespace(password_hash="5e884898"), "password"))


class Acme(unittest.TestCase):
    def test_an_export_line_cannot_be_broken_by_its_values(self) -> None:
        quote = SimpleNamespace(
            id=42, email="a;b@acme.example", product="desk", quantity=3, total_cents=74700
        )
        self.assertEqual(crm.line(quote), "Q00042;a,b@acme.example;desk;3;747.00")

    def test_a_suspended_user_is_refused_a_quote(self) -> None:
        (guard,) = workflows.quote_guards(workflows.rules())
        self.assertIsNone(guard(SimpleNamespace(suspended=False)))
        self.assertIn("suspended", guard(SimpleNamespace(suspended=True)) or "")

    def test_every_rule_has_a_proof_and_says_what_it_depends_on(self) -> None:
        for name, rule in workflows.rules().items():
            with self.subTest(name):
                self.assertIn(rule["kind"], workflows.PROOFS)
                self.assertTrue(rule["depends_on"])

    def test_values_are_escaped(self) -> None:
        template = Path(users.__file__).parent / "templates" / "signin.html"
        shown = bytes(page(template, title="t", email='"><script>', message="").body)
        self.assertNotIn(b"<script>", shown)
        self.assertIn(b"Welcome to Acme", shown)

    def test_every_system_serves_its_pages(self) -> None:
        paths = {getattr(route, "path", "") for route in create_app().routes}
        self.assertLessEqual({"/signin", "/quotes", "/notices", "/invitations", "/terms"}, paths)


if __name__ == "__main__":
    unittest.main()
