"""`kalshi-arb discover`: which groups markets form and why others do not, from recordings or live. Nothing is kept."""

import json
import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from kalshi_arb.cli.exchange_choice import CHOICES, check_choice, rest_url
from kalshi_arb.cli.options import folder_option, url_option
from kalshi_arb.cli.progress import Progress
from kalshi_arb.clock import SystemClock
from kalshi_arb.domain.errors import ExchangeError
from kalshi_arb.domain.listing import EventListing
from kalshi_arb.domain.relation import Relation
from kalshi_arb.domain.state_space import Group
from kalshi_arb.kalshi.client import RestClient
from kalshi_arb.kalshi.market_data import KalshiMarketData
from kalshi_arb.kalshi.recorded import Recording, RecordingError, Unread
from kalshi_arb.relations.assembly import Refusal
from kalshi_arb.relations.catalogue import Built, Catalogue
from kalshi_arb.relations.user import NO_USER_RELATIONS, PAIR_KINDS, UserRelationError, UserRelations
from kalshi_arb.relations.user_file import parse_relations

Json = dict[str, Any]

_SHOWN_REFUSALS = 3


class BadInputError(click.ClickException):
    """Something that was given cannot be read: one line, exit code 2."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Discovered:
    """What was listed and what it forms. ``left_out`` counts by reason the events that live reads could not map."""

    source: str
    listings: Sequence[EventListing]
    catalogue: Catalogue
    built: Built
    unread: Sequence[Unread] = ()
    left_out: Mapping[str, int] | None = None


def read_files(files: Iterable[Path], user: UserRelations) -> Discovered:
    """Discover in recorded payloads, as of when they were recorded.

    :raises BadInputError: a file holds no listing, or the user's relations do not fit
    """
    recording = Recording()
    names = []
    for path in files:
        names.append(str(path))
        try:
            recording.add(path.read_bytes(), str(path))
        except (RecordingError, OSError) as error:
            raise BadInputError(str(error)) from error
    listings, unread = recording.listings()
    # A recording does not say when it is looked at: what it lists as active is taken for active.
    catalogue = build(listings, user, now_ms=0)
    return Discovered(", ".join(names), listings, catalogue, catalogue.built(), unread)


def read_exchange(url: str, user: UserRelations, progress: Progress) -> Discovered:
    """Discover on an exchange with public reads alone.

    :raises ExchangeError: it does not answer
    :raises BadInputError: the user's relations do not fit
    """
    # Events that cannot be mapped are counted in the answer; a line for each would bury it.
    logging.getLogger("kalshi_arb").addHandler(logging.NullHandler())
    clock = SystemClock()
    client = RestClient(base_url=url, credentials=None, clock=clock)
    listings: list[EventListing] = []
    markets = 0
    try:
        market_data = KalshiMarketData(client, clock)
        for reading, what in ((market_data.combo_events, "combos"), (market_data.open_events, "open events")):
            for listing in reading():
                listings.append(listing)
                markets += len(listing.markets)
                progress.tell(f"reading {what}: {len(listings)} events, {markets} markets ...")
    finally:
        client.close()
    progress.tell(f"building groups of {markets} markets ...")
    catalogue = build(listings, user, now_ms=clock.now_ms())
    return Discovered(url, listings, catalogue, catalogue.built(), left_out=dict(market_data.skipped))


def build(listings: Sequence[EventListing], user: UserRelations, *, now_ms: int) -> Catalogue:
    """:raises BadInputError: the user's relations name what is not listed, or contradict themselves."""
    if user.relations:
        try:
            user = user.resolved([listed.market.ticker for listing in listings for listed in listing.markets])
        except UserRelationError as error:
            raise BadInputError(str(error)) from error
    catalogue = Catalogue(user=user)
    catalogue.load(listings, now_ms=now_ms)
    return catalogue


def read_user_relations(path: Path | None) -> UserRelations:
    """The user's relations. :raises BadInputError: they cannot be read; file, line and cause."""
    if path is None:
        return NO_USER_RELATIONS
    try:
        return parse_relations(path.read_text(encoding="utf-8"), str(path))
    except (UserRelationError, UnicodeDecodeError, OSError) as error:
        raise BadInputError(str(error) if isinstance(error, UserRelationError) else f"{path}: {error}") from error


def as_json(found: Discovered) -> Json:
    """The answer for machines."""
    built = found.built
    refused = [_refusal(refusal) for refusal in built.refusals]
    refused += [{"markets": list(one.markets), "family": "market", "reason": one.reason} for one in found.unread]
    return {"groups": [group_json(group) for group in built.groups], "refused": refused, "counts": counts_of(found)}


def group_json(group: Group) -> Json:
    """One group for machines."""
    return {
        "id": group.group_id,
        "family": group.family.value,
        "markets": list(group.tickers),
        "relations": [relation_json(relation) for relation in group.relations],
        "states": len(group.states),
        "edge_states": list(group.edge_states),
        "fingerprint": group.fingerprint,
        "absent": list(group.absent),
    }


def relation_json(relation: Relation) -> Json:
    """One relation: two markets as ``a`` and ``b`` (of a subset ``a`` implies ``b``), more as ``members``."""
    if relation.kind in PAIR_KINDS:
        a, b = relation.tickers
        return {"kind": relation.kind.value, "a": a, "b": b}
    return {"kind": relation.kind.value, "members": list(relation.tickers)}


def _refusal(refusal: Refusal) -> Json:
    return {"markets": list(refusal.markets), "family": refusal.family, "reason": refusal.reason.value}


def counts_of(found: Discovered) -> Json:
    """How much there was, what became of it, and how many markets each reason keeps out of their own event's groups."""
    built = found.built
    refused = Counter(built.counts)
    for one in found.unread:
        refused[one.reason] += len(one.markets)
    unread = sum(len(one.markets) for one in found.unread)
    counts: Json = {
        "events": len(found.listings),
        "markets": unread + sum(len(listing.markets) for listing in found.listings),
        "groups": len(built.groups),
        "markets_in_groups": len({ticker for group in built.groups for ticker in group.tickers}),
        "families": dict(sorted(Counter(group.family.value for group in built.groups).items())),
        "refused": dict(sorted(refused.items())),
    }
    if found.left_out:
        counts["events_left_out"] = dict(found.left_out)
    return counts


def as_text(found: Discovered) -> list[str]:
    """The answer for a person: families, what was refused and why, what the input does not say."""
    counts = counts_of(found)
    grouped, markets = counts["markets_in_groups"], counts["markets"]
    lines = [
        f"source    {found.source}",
        f"listed    {counts['events']:,} events, {markets:,} markets; nothing was kept",
        f"groups    {counts['groups']:,}, with {grouped:,} of the markets",
    ]
    for family, number in counts["families"].items():
        own = [group for group in found.built.groups if group.family.value == family]
        edges = sum(bool(group.edge_states) for group in own)
        assumed = sum(bool(group.assumptions) for group in own)
        notes = [f"{edges:,} with edge states"] if edges else []
        notes += [f"{assumed:,} need an approval"] if assumed else []
        lines.append(f"  {family:<10} {number:>7,}{'  ' if notes else ''}{', '.join(notes)}")
    lines += ["", "left out of the groups of their event" if counts["refused"] else "nothing was left out"]
    for reason, number in sorted(counts["refused"].items(), key=lambda item: -item[1]):
        lines.append(f"  {number:>7,}  {reason.replace('_', ' ')}: {_example(found, reason)}")
    for reason, number in (found.left_out or {}).items():
        lines.append(f"  {number:>7,}  events {reason.replace('_', ' ')}")
    claims = Counter(refusal.reason.value for refusal in found.built.refusals if refusal.group_id)
    if claims:
        lines += ["", "claims that are not made of a group that stands"]
        lines += [f"  {number:>7,}  {reason.replace('_', ' ')}: {_example(found, reason)}"
                  for reason, number in claims.most_common()]  # fmt: skip
    absent = Counter(name for listing in found.listings for name in listing.absent)
    if absent:
        lines += ["", "what the input does not say (absent, not mixed)"]
        lines += [f"  {number:>7,}  events without {name}" for name, number in absent.most_common()]
        if absent["fee_type"]:
            lines.append("  Fees are taken as quadratic with multiplier 1 where no series says what is charged.")
    return lines


def _example(found: Discovered, reason: str) -> str:
    for refusal in found.built.refusals:
        if refusal.reason.value == reason:
            return f"{refusal.words} ({_some(refusal.markets)})"
    for one in found.unread:
        if one.reason == reason:
            return f"{one.words} ({_some(one.markets)})"
    return ""


def _some(markets: Sequence[str]) -> str:
    rest = len(markets) - _SHOWN_REFUSALS
    return ", ".join(markets[:_SHOWN_REFUSALS]) + (f" and {rest:,} more" if rest > 0 else "")


@click.command()
@click.option(
    "--input",
    "files",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A recorded payload of /events or /markets: JSON or JSON lines, gzip or not. More files may follow.",
)
@click.argument("more", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--exchange",
    type=click.Choice(CHOICES),
    help="Whose public REST API is read; embedded, the local run's own, is the default without --input.",
)
@url_option
@click.option(
    "--relations",
    "relations_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Relations of your own (relations.yaml).",
)
@folder_option
@click.option("--json", "as_machine", is_flag=True, help="One JSON object on standard output.")
def discover(
    files: tuple[Path, ...],
    more: tuple[Path, ...],
    exchange: str | None,
    url: str | None,
    relations_file: Path | None,
    folder: Path,
    as_machine: bool,
) -> None:
    """Find the groups whose joint settlement is certain, and say of all other markets why not. Nothing is kept.

    \b
    Examples:
      kalshi-arb discover --exchange prod                     Kalshi, without a key
      kalshi-arb discover --input events.json.gz --json
      kalshi-arb discover --input day1.jsonl day2.jsonl --relations relations.yaml
    """
    paths = (*files, *more)
    if paths and (exchange or url):
        raise click.UsageError("--input reads files: leave --exchange and --url out")
    if more and not files:
        raise click.UsageError(f"{more[0]} needs --input before it")
    check_choice(exchange, url)
    user = read_user_relations(relations_file)
    found = read_files(paths, user) if paths else read_live(rest_url(exchange, url, folder), user)
    click.echo(json.dumps(as_json(found)) if as_machine else "\n".join(as_text(found)))


def read_live(url: str, user: UserRelations) -> Discovered:
    """Discover on an exchange, with a line of progress. :raises click.ClickException: it does not answer."""
    progress = Progress()
    try:
        return read_exchange(url, user, progress)
    except ExchangeError as error:
        raise click.ClickException(f"{url} does not answer a public read: {error}") from error
    finally:
        progress.clear()
