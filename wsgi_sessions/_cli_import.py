"""``wsgi-sessions import``: a command for each legacy system, made from the table of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from operator import attrgetter
from typing import Any

import click

from ._cli_progress import progress, show_report
from ._cli_storages import EXAMPLES, Storage
from ._cli_systems import SYSTEMS, Setting, System
from ._cli_values import ELSEWHERE, check_shared, hook, storage, store
from ._store_commands import Failed
from .exceptions import StoreError
from .migration.base import Source
from .migration.bulk import Report, import_sessions
from .settings import MAX_PAYLOAD
from .stores.base import SessionStore

_AGAIN = "what was imported stays; the same command goes on from there"
# What has no storage: whose sessions they are, the source for them, and what of the same library is stored after all.
_IN_COOKIES = {
    "flask": ("Flask", "FlaskSource", "those of Flask-Session: wsgi-sessions import flask-session"),
    "pyramid": (
        "Pyramid",
        "PyramidSource",
        "those of pyramid_session_redis: wsgi-sessions import pyramid-session-redis",
    ),
    "bottle": ("Bottle", "BottleSource", ""),
    "secure-cookie": ("SecureCookie", "SecureCookieSource", "those in files: wsgi-sessions import werkzeug"),
    "django-cookie": (
        "Django's engine signed_cookies",
        "DjangoCookieSource",
        "those of other engines: wsgi-sessions import django",
    ),
}


class _Systems(click.Group):
    """Tells of what cannot be imported why that is so."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that the arguments name, and what is left of them."""
        if args[0] in _IN_COOKIES:
            whose, source, others = _IN_COOKIES[args[0]]
            raise click.UsageError(
                f"sessions of {whose} are in the cookies of their visitors: there is nothing to import, they move when "
                f"their visitors come to an application with legacy=[{source}(...)]{others and f'; {others}'}",
                ctx,
            )
        return super().resolve_command(ctx, args)


@click.group("import", cls=_Systems, epilog="wsgi-sessions import SYSTEM --help tells what each needs.")
def import_commands() -> None:
    """Bring in the sessions that another library has stored.

    \b
    wsgi-sessions import beaker /var/cache/app --serializer pickle --timeout 3600 --to URL
    wsgi-sessions import flask-session redis://localhost:6379/0 --serializer msgpack --to URL

    Nobody is logged in by it. Each session waits in the store until its visitor comes with the old cookie to an
    application whose SessionMiddleware has the system among its legacy=[...]. The old storage is not changed, and is
    not needed any more.

    It can be repeated, and goes on where it was stopped: what waits is renewed if it went on where it comes from, and
    what was taken over is left alone. The last time is when the old application has stopped. It ends with a table; the
    exit code is 1 if a session could not be read, or there was none, 3 if one of the two storages failed.
    """


def _command(system: System) -> click.Command:
    where = " or ".join(EXAMPLES[kind] for kind in system.storages)
    return click.Command(
        system.name,
        callback=partial(_import, system),
        params=[
            click.Argument(["place"], type=storage, metavar="STORAGE"),
            click.Option(["target", "--to"], type=store, metavar="URL", required=True, help="Our store, by its URL."),
            *(option for setting in system.settings for option in _options(setting)),
            *_common_options(),
        ],
        help=f"{system.summary}\n\nSTORAGE is written as {where}.",
        short_help=system.summary.partition(":")[0],
        epilog=f"This goes for STORAGE and URL, too: {ELSEWHERE}",
    )


def _options(setting: Setting) -> Iterator[click.Option]:
    names = [setting.name, f"--{setting.name.replace('_', '-')}"]
    if setting.kind is bool:
        yield click.Option(names, is_flag=True, default=None, help=setting.help)
        return
    kind: Any = click.Choice(setting.kind) if isinstance(setting.kind, tuple) else setting.kind
    yield click.Option(
        names,
        type=kind,
        metavar=setting.unit,
        required=setting.is_required,
        multiple=setting.is_repeated,
        help=setting.help,
        callback=partial(_check_limit, setting) if setting.is_limit else None,
    )
    if setting.is_limit:
        names = [f"no_{setting.name}", f"--no-{setting.name}"]
        yield click.Option(names, is_flag=True, default=None, help="That there is none: one of the two is needed.")


def _check_limit(setting: Setting, _ctx: click.Context, _parameter: click.Parameter, value: Any) -> Any:
    """Return a number of seconds or a duration, or None if it was not given."""
    if value is not None and value <= type(value)():
        raise click.BadParameter(f"it must be more than 0 seconds; if there was none, write --no-{setting.name}")
    return value


def _common_options() -> list[click.Option]:
    return [
        click.Option(["--dry-run"], is_flag=True, help="Write nothing, and tell what would be written."),
        click.Option(
            ["--default-lifetime"],
            type=click.FloatRange(min=0, min_open=True, max=36500),
            default=31,
            show_default=True,
            metavar="DAYS",
            help="How long a session without an end of its own waits for its visitor.",
        ),
        click.Option(
            ["--max-payload"],
            type=click.IntRange(min=1),
            default=MAX_PAYLOAD,
            show_default=True,
            metavar="BYTES",
            help="As the SessionMiddleware has it: what is larger could not be taken over.",
        ),
        click.Option(
            ["--convert"],
            type=hook,
            metavar="PACKAGE.MODULE:FUNCTION",
            help="What instances of the application's own classes become, as the source's convert. "
            "Without it they are dropped.",
        ),
        click.Option(
            ["--on-unknown"],
            type=click.Choice(("drop", "refuse")),
            default="drop",
            show_default=True,
            help="Drop what cannot be stored, or refuse the session that holds it.",
        ),
    ]


def _import(system: System, place: Storage, target: SessionStore, **options: Any) -> None:
    how = {name: options.pop(name) for name in ("dry_run", "default_lifetime", "max_payload")}
    given = {name: value for name, value in options.items() if value not in (None, ())}
    for setting in filter(attrgetter("is_limit"), system.settings):
        if (setting.name in given) == given.pop(f"no_{setting.name}", False):
            raise click.UsageError(f"write either --{setting.name} {setting.unit} or --no-{setting.name}")
    try:
        source = system.source(place, given)
    except (ValueError, TypeError, ImportError) as error:
        raise click.UsageError(str(error)) from error
    if not how["dry_run"]:
        check_shared(target)
    report = _reported(source, target, partial(system.estimate, place, given), **how)
    if not report.read:
        hint = "is this the right place, and are these the right options?"
        click.echo(f"nothing of {system.name} is there: {hint}", err=True)
    if report.unreadable.total or not report.read:
        raise SystemExit(1)


def _reported(
    source: Source,
    target: SessionStore,
    estimate: Callable[[], int | None],
    *,
    dry_run: bool,
    default_lifetime: float,
    max_payload: int,
) -> Report:
    """Import, show how it goes and what came of it, also if that was cut short, and return it."""
    report = Report()
    try:
        with progress(estimate()) as shown:
            import_sessions(
                source,
                target,
                default_lifetime=timedelta(days=default_lifetime),
                dry_run=dry_run,
                max_payload=max_payload,
                report=report,
                on_progress=shown.show,
            )
    except StoreError as error:
        if report.read:
            show_report(report, dry_run=dry_run)
        raise Failed(f"{error}; {_AGAIN}" if report.read else str(error)) from error
    except KeyboardInterrupt:
        show_report(report, dry_run=dry_run)
        click.echo(_AGAIN, err=True)
        raise
    show_report(report, dry_run=dry_run)
    return report


for _system in SYSTEMS:
    import_commands.add_command(_command(_system))
