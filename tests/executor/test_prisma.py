"""Tables, columns and mask rules are read from Prisma's schema files."""

import asyncio
import re

import pytest
from hypothesis import given, settings

from services.executor.clients.prisma import FieldOf, read_models
from shared.prisma.fragments import merge
from shared.prisma.migrating import diff
from shared.prisma.ownership import Unified
from tests.prisma.test_prisma_fragments import worlds

MAIN = """
datasource db { provider = "postgresql" }
generator client {
  provider = "prisma-client-js"
}
enum Role {
  ADMIN
  USER
}
/// A person. @mask does not belong here.
model User {
  id      Int      @id @default(autoincrement()) // the key
  /// Where we write to.
  /// @mask email
  mail    String   @unique @map("e-mail")
  role    Role     @default(USER)
  tags    String[]
  posts   Post[]
  /// @mask keep
  url     String   @default("http://x") @db.VarChar(200)
  vector  Unsupported("vector(3)")?

  @@index([mail])
  @@map("users")
  @@schema("app")
}
"""
OTHER = """
model Post {
  /// @mask hash
  key     String @id
  authorId Int
  author  User   @relation(fields: [authorId], references: [id])
  labels  Label[]
  related Post[] @relation(onDelete: Cascade, name: "Related")
  back    Post[] @relation("Related")
}
model Label {
  id    Int @id
  posts Post[]
}
"""


def test_names_types_rules_and_join_tables() -> None:
    models = {model.name: model for model in read_models({"main.prisma": MAIN, "b.prisma": OTHER})}
    user = models["User"]
    assert (user.table, user.schema, user.file) == ("users", "app", "main.prisma")
    stored = {each.name: (each.column, each.mask) for each in user.fields if each.column}
    assert stored == {
        "id": ("id", None),
        "mail": ("e-mail", "email"),
        "role": ("role", None),
        "tags": ("tags", None),
        "url": ("url", "keep"),
        "vector": ("vector", None),
    }
    assert models["Post"].table == "Post"
    joined = models["_LabelToPost"]
    assert joined.fields == (FieldOf("A", "Int", "A"), FieldOf("B", "String", "B", mask="hash"))
    assert models["_Related"].table == "_Related"


def test_a_tree_has_no_table_of_its_own() -> None:
    text = '  parentId Int?\n  parent Folder? @relation("Tree", fields: [parentId], references: [id])\n'
    text = f'model Folder {{\n  id Int @id\n{text}  children Folder[] @relation("Tree")\n}}\n'
    assert [model.name for model in read_models({"a.prisma": text})] == ["Folder"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model A {\n id Int\n", "never closed"),
        ("model A {\n /// @mask secret\n id String\n}", "a.prisma:3: secret is no mask rule"),
        ("model A {\n id Nothing\n}", "a.prisma:2: Nothing is neither"),
        ("model A {\n ???\n}", "no field"),
    ],
)
def test_what_is_not_understood_is_named(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_models({"a.prisma": text})


def test_a_field_that_another_file_adds_is_a_column_of_the_models_table() -> None:
    more = '/// @extends main\nmodel User {\n  /// @mask phone\n  phone String? @map("tel")\n}\n'
    (user,) = (
        model
        for model in read_models({"prisma/main.prisma": MAIN, "b.prisma": OTHER, "c.prisma": more})
        if model.name == "User"
    )
    assert user.table == "users"
    assert [(each.column, each.mask) for each in user.fields if each.name == "phone"] == [("tel", "phone")]
    with pytest.raises(
        ValueError, match=r"User\.mail is said differently: main\.prisma:15 .* against c\.prisma:4"
    ):
        read_models(
            {
                "main.prisma": MAIN,
                "b.prisma": OTHER,
                "c.prisma": more.replace("phone String?", "mail String?"),
            }
        )


@settings(deadline=None, max_examples=10)
@given(worlds())
def test_tables_and_columns_are_those_that_prisma_makes(files: dict[str, str]) -> None:
    merged = merge(files)
    assert isinstance(merged, Unified)
    sql = asyncio.run(diff({}, merged.files))
    made = {
        table: set(re.findall(r'^    "(\w+)"', body, re.MULTILINE))
        for table, body in re.findall(r'CREATE TABLE "(\w+)" \((.*?)\n\);', sql, re.DOTALL)
    }
    assert made == {
        model.table: {each.column for each in model.fields if each.column} for model in read_models(files)
    }
