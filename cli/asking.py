"""What every command that asks the services takes besides its own arguments: where, and as whom."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any, Concatenate, ParamSpec

import typer

from cli.client import Server
from cli.world import Person

Own = ParamSpec("Own")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Watch = Annotated[bool, typer.Option("--watch", "-w", help="Follow the Run live until it ends or waits.")]
RunArgument = Annotated[
    str, typer.Argument(metavar="RUN", help="The Run's id, for instance run-1b9d6bcd4f21.")
]
ProjectArgument = Annotated[str, typer.Argument(metavar="PROJECT", help="The Project's id.")]

_Url = Annotated[
    str | None,
    typer.Option(
        "--url", help="Where the services are; or UPGRADEPATH_URL.", rich_help_panel="Where, and as whom"
    ),
]
_Token = Annotated[
    str | None,
    typer.Option(
        "--token", help="A bearer token; or UPGRADEPATH_TOKEN.", rich_help_panel="Where, and as whom"
    ),
]
_As = Annotated[
    Person | None,
    typer.Option(
        "--as",
        help="In a local world: as whom.",
        rich_help_panel="Where, and as whom",
    ),
]


def asks(
    default: Person = "maintainer",
) -> Callable[[Callable[Concatenate[Server, Own], None]], Callable[..., None]]:
    """Give a command its `Server` and the options that say which one; `default` is the local identity."""

    def decorate(command: Callable[Concatenate[Server, Own], None]) -> Callable[..., None]:
        @wraps(command)
        def ask(
            *arguments: Any,
            url: str | None = None,
            token: str | None = None,
            as_role: Person | None = None,
            **options: Any,
        ) -> None:
            with Server(url=url, token=token, wanted=as_role, default=default) as server:
                command(server, *arguments, **options)

        _declare(ask, command)
        return ask

    return decorate


def _declare(ask: Callable[..., None], command: Callable[..., None]) -> None:
    """Typer reads signatures: the command's own without its server, then these three."""
    own = list(inspect.signature(command).parameters.values())[1:]
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in (("url", _Url), ("token", _Token), ("as_role", _As))
    ]
    ask.__signature__ = inspect.Signature([*own, *added])  # type: ignore[attr-defined]
    ask.__annotations__ = {parameter.name: parameter.annotation for parameter in (*own, *added)}
