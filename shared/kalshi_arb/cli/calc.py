"""`kalshi-arb calc`: what legs pay in every way to settle, what they are charged, and what the result rests on."""

import json
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import msgspec

from kalshi_arb.calc_view import (
    BookOrder,
    CalcOrder,
    LegOrder,
    RelationOrder,
    StateOrder,
    calc_view,
    decode_order,
    to_request,
    with_levels,
)
from kalshi_arb.cli.exchange_choice import CHOICES, check_choice, rest_url
from kalshi_arb.cli.options import folder_option, json_option, show_contracts, show_dollars, url_option
from kalshi_arb.clock import Clock, SystemClock
from kalshi_arb.detection.calc_space import CalcError
from kalshi_arb.detection.calc_types import CalcRequest
from kalshi_arb.detection.calculator import calculate
from kalshi_arb.domain.errors import DomainError, ExchangeError
from kalshi_arb.domain.listing import EventListing
from kalshi_arb.domain.state_space import Group
from kalshi_arb.kalshi.client import RestClient
from kalshi_arb.kalshi.market_data import KalshiMarketData
from kalshi_arb.relations.catalogue import build_groups

Json = dict[str, Any]

_LEG = re.compile(r"(?P<market>.+?):(?P<side>yes|no)(?::(?P<price>[0-9.]*):(?P<count>[^:]+))?(?P<more>(?::[^:]+)*)")
_SHOWN_STATES = 12
_SHOWN_LEGS = 12


class BadInputError(click.ClickException):
    """Input that cannot be used: one line, and the exit code of wrong use."""

    exit_code = 2


def read_leg(text: str) -> LegOrder:
    """A leg typed in: ``NAME:yes|no:PRICE:COUNT``, then ``:maker``, ``:x0.5`` or a fee type as needed.

    :raises CalcError: it cannot be read
    """
    match = _LEG.fullmatch(text)
    if match is None or match["count"] is None:
        raise CalcError(f"the leg {text!r} is not NAME:yes|no:PRICE:COUNT, such as A:no:0.64:10")
    side: Any = match["side"]
    order = LegOrder(market=match["market"], side=side, count=match["count"], price=match["price"] or None)
    for word in filter(None, match["more"].split(":")):
        if word in ("taker", "maker"):
            order = msgspec.structs.replace(order, role=word)
        elif word.startswith("x"):
            order = msgspec.structs.replace(order, multiplier=word[1:])
        else:
            order = msgspec.structs.replace(order, fee_type=word)
    return order


def read_relation(text: str) -> RelationOrder:
    """A relation typed in: ``KIND:A,B,...``. :raises CalcError: it cannot be read."""
    kind, colon, members = text.partition(":")
    if not colon:
        raise CalcError(f"the relation {text!r} is not KIND:A,B,..., such as exclusive:A,B,C")
    return RelationOrder(kind, tuple(name.strip() for name in members.split(",") if name.strip()))


def read_state(text: str) -> StateOrder:
    """A way to settle typed in: ``NAME=A,B`` pays YES of A and of B, ``NAME=A:0.5`` half a dollar, ``NAME=`` nothing;
    ``?NAME=...`` is possible, not certain.

    :raises CalcError: it cannot be read
    """
    name, equals, paid = text.partition("=")
    if not equals or not name.strip("? "):
        raise CalcError(f"the state {text!r} is not NAME=A,B, with the markets whose YES pays")
    pays = {}
    for part in filter(None, (one.strip() for one in paid.split(","))):
        market, _, amount = part.partition(":")
        pays[market] = amount or "1"
    return StateOrder(name.removeprefix("?").strip(), pays, possible=name.startswith("?"))


def read_strike(text: str) -> tuple[str, str]:
    """A strike typed in: ``NAME=> 93``, ``NAME=93 .. 94``. :raises CalcError: it cannot be read."""
    name, equals, strike = text.partition("=")
    if not equals:
        raise CalcError(f'the strike {text!r} is not NAME=STRIKE, such as "A=> 93" or "B=93 .. 94"')
    return name.strip(), strike.strip()


def read_books(values: Iterable[str]) -> dict[str, BookOrder]:
    """Books: files that hold them by market, or levels typed in, ``NAME:bid:0.36:100``.

    :raises CalcError: a file or a level that cannot be read
    """
    books: dict[str, BookOrder] = {}
    levels = []
    for value in values:
        path = Path(value)
        if not path.is_file():
            if ":bid:" not in value and ":ask:" not in value:
                raise CalcError(f"--book {value!r} is no file, and no level such as A:bid:0.36:100")
            levels.append(value)
            continue
        try:
            books |= msgspec.json.decode(path.read_bytes(), type=dict[str, BookOrder])
        except (msgspec.DecodeError, UnicodeDecodeError, OSError) as error:
            raise CalcError(f"{value}: {error}") from error
    return with_levels(books, levels)


def live_request(request: CalcRequest, url: str, clock: Clock) -> CalcRequest:
    """The same with what an exchange says now: books, fees, grids, and without any relation the group that discovery
    makes of the markets.

    :raises ExchangeError: it does not answer
    :raises CalcError: a market is not listed or does not trade, or no group holds all of them
    """
    logging.getLogger("kalshi_arb").addHandler(logging.NullHandler())
    names = dict.fromkeys(
        (
            *(leg.market for leg in request.legs),
            *(name for relation in request.relations for name in relation.members),
            *(name for state in request.states for name in state.yes_payouts),
        )
    )
    client = RestClient(base_url=url, credentials=None, clock=clock)
    try:
        market_data = KalshiMarketData(client, clock)
        states = market_data.market_states(list(names))
        missing = [name for name in names if name not in states]
        if missing:
            raise CalcError(f"{url} lists no market {', '.join(missing)}")
        listings = list(market_data.events(list(dict.fromkeys(one.event_ticker for one in states.values()))))
        typed = bool(request.relations or request.states)
        group = None if typed else _group_of(list(names), listings, clock.now_ms())
        books = market_data.orderbooks(group.tickers if group else list(names))
    finally:
        client.close()
    now_ms = clock.now_ms()
    return replace(_with_terms(request, names, listings), group=group, books=books, now_ms=now_ms)


def _with_terms(request: CalcRequest, names: Iterable[str], listings: Iterable[EventListing]) -> CalcRequest:
    markets = {one.market.ticker: one.market for listing in listings for one in listing.markets}
    own = [markets[name] for name in names if name in markets]
    grids = {market.grid for market in own}
    if len(grids) > 1:
        raise CalcError("these markets have different price grids, which relations typed in cannot hold")
    grid = grids.pop() if grids else request.grid
    return replace(request, market_fees={market.ticker: market.fees for market in own}, grid=grid)


def _group_of(names: Sequence[str], listings: Iterable[EventListing], now_ms: int) -> Group:
    built = build_groups(listings, now_ms=now_ms)
    fitting = [group for group in built.groups if set(names) <= set(group.tickers)]
    if not fitting:
        words = "; ".join(dict.fromkeys(one.words for one in built.refusals if set(one.markets) & set(names)))
        raise CalcError(f"no group holds {', '.join(names)}: give a relation" + (f" ({words})" if words else ""))
    return min(fitting, key=lambda group: len(group.tickers))


def as_text(view: Mapping[str, Any]) -> list[str]:
    """The answer for people."""
    lines = [f"answer    {view['text']}" + (f": {view['note']}" if view["note"] else "")]
    if not view["legs"]:
        return lines
    width = max(len(leg["market"]) for leg in view["legs"])
    for leg in view["legs"][:_SHOWN_LEGS]:
        even = "never" if leg["break_even"] is None else show_dollars(leg["break_even"])
        lines.append(
            f"leg       buy {show_contracts(leg['count']):>8} {leg['side'].upper():<3} {leg['market']:<{width}} at "
            f"{show_dollars(leg['price'])} ({leg['role']}), fee {show_dollars(leg['fee'])}, breaks even at {even}"
        )
    more = len(view["legs"]) - _SHOWN_LEGS
    if more > 0:
        lines.append(f"          and {more} more legs")
    bounds = f"{show_dollars(view['fee_at_least'])} to {show_dollars(view['fee_at_most'])}"
    cost, fee = show_dollars(view["cost"]), show_dollars(view["fee"])
    lines.append(f"cost      {cost} and fees {fee} as filled; fees {bounds} however it fills")
    lines += _states(view["states"])
    lines.append(f'worst     {show_dollars(view["worst_profit"])} with the highest fees, in "{view["worst_state"]}"')
    possible = {state["name"] for state in view["states"] if state["basis"] == "possible"}
    lines += [f"breaks if {name}" for name in view["breaking_states"] if name in possible]
    for claim in view["rests_on"]:
        without = (
            "too many ways to tell"
            if claim["without_it"] is None
            else f"{show_dollars(claim['without_it'])} without it"
        )
        lines.append(f"{'rests on' if claim['carries'] else 'not on':<10}{claim['text']} (worst {without})")
    lines += [f"because   {sentence}" for sentence in view["grounds"]]
    if view["largest"] is not None:
        size, worst = view["largest"], show_dollars(view["largest"]["worst_profit"])
        lines.append(
            f"size      up to {show_contracts(size['count'])} of the first leg, worst {worst}; {size['limited_by']}"
        )
    if view["best"] is not None:
        legs = ", ".join(
            f"{show_contracts(leg['count'])} {leg['side'].upper()} {leg['market']} at {show_dollars(leg['price'])}"
            for leg in view["best"]["legs"]
        )
        lines.append(f"best      {show_dollars(view['best']['worst_profit'])} in the worst case: {legs}")
    return lines


def _states(states: Sequence[Mapping[str, Any]]) -> list[str]:
    """Every way to settle, the worst first; of very many the first and a count."""
    ordered = sorted(states, key=lambda state: _signed(state["worst_profit"]))
    lines = []
    for state in ordered[:_SHOWN_STATES]:
        possible = " (possible)" if state["basis"] == "possible" else ""
        lines.append(
            f"state     pays {show_dollars(state['payout']):>9}, profit {show_dollars(state['profit']):>10}, at least "
            f"{show_dollars(state['worst_profit']):>10}: {state['name']}{possible}"
        )
    more = len(ordered) - _SHOWN_STATES
    return lines + ([f"          and {more} more that pay no less"] if more > 0 else [])


def _signed(wire: str) -> int:
    return int(wire.replace(".", ""))


@click.command()
@click.option("--leg", "legs", multiple=True, help="A purchase, NAME:yes|no:PRICE:COUNT[:maker][:x0.5][:fee_type].")
@click.option("--relation", "relations", multiple=True, help="KIND:A,B,...: implies, exclusive, partition and so on.")
@click.option(
    "--state", "states", multiple=True, help="Instead: a way to settle, NAME=A,B; ?NAME=... is only possible."
)
@click.option("--strike", "strikes", multiple=True, help='Instead: a market\'s strike, "NAME=> 93", "NAME=93 .. 94".')
@click.option("--book", "books", multiple=True, help="A level, NAME:bid|ask:YES-PRICE:COUNT, or a file of books.")
@click.option(
    "--request", "file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="All of it, as JSON."
)
@click.option("--exchange", type=click.Choice(CHOICES), help="Names are tickers: read books, fees and grids now.")
@url_option
@click.option("--fee-type", default="quadratic", show_default=True, help="The series' fee_type.")
@click.option("--multiplier", default="1", show_default=True, help="The series' fee_multiplier.")
@click.option("--tick", default="0.01", show_default=True, help="Step of the prices.")
@click.option("--precision", default="0.0001", show_default=True, help="Balance steps: 0.0001 direct, 0.01 broker.")
@click.option("--smallest-fill", default="1", show_default=True, help="Declared smallest fill, for the highest fee.")
@click.option("--max-age", default=5.0, show_default=True, help="Seconds a book may be old.")
@folder_option
@json_option
def calc(
    legs: tuple[str, ...],
    relations: tuple[str, ...],
    states: tuple[str, ...],
    strikes: tuple[str, ...],
    books: tuple[str, ...],
    file: Path | None,
    exchange: str | None,
    url: str | None,
    fee_type: str,
    multiplier: str,
    tick: str,
    precision: str,
    smallest_fill: str,
    max_age: float,
    folder: Path,
    as_json: bool,
) -> None:
    """Calculate a bundle by hand: payoff in every way to settle, fees, break-even, largest size, what carries it.

    Without legs the best bundle on the books is looked for. Names are free text, or tickers with --exchange.

    \b
    Examples:
      kalshi-arb calc --relation implies:A,B --leg A:no:0.30:10 --leg B:yes:0.60:10
      kalshi-arb calc --relation exclusive:A,B --book A:bid:0.60:100 --book B:bid:0.50:80
      kalshi-arb calc --strike "A=93 .. 94" --strike "B=> 94" --leg A:yes:0.40:5 --leg B:yes:0.50:5
      kalshi-arb calc --exchange prod --leg KXA-1-T1:yes::10 --leg KXA-1-T2:no::10
    """
    check_choice(exchange, url)
    clock = SystemClock()
    typed = legs or relations or states or strikes or books
    if file is not None and typed:
        raise click.UsageError("--request holds everything: leave --leg, --relation, --state, --strike and --book out")
    if (exchange or url) and (file is not None or books or strikes):
        raise click.UsageError("--exchange reads the markets: leave --request, --book and --strike out")
    try:
        if file is not None:
            request = to_request(decode_order(file.read_bytes()), clock.now_ms())
        else:
            order = CalcOrder(
                legs=tuple(map(read_leg, legs)),
                relations=tuple(map(read_relation, relations)),
                states=tuple(map(read_state, states)),
                strikes=dict(map(read_strike, strikes)),
                books=read_books(books),
                fee_type=fee_type,
                multiplier=multiplier,
                tick=tick,
                precision=precision,
                smallest_fill=smallest_fill,
                max_age_ms=round(max_age * 1000),
            )
            request = to_request(order, clock.now_ms())
        if exchange or url:
            request = live_request(request, rest_url(exchange, url, folder), clock)
        view = calc_view(calculate(request))
    except ExchangeError as error:
        raise click.ClickException(f"the exchange does not answer a public read: {error}") from error
    except DomainError as error:
        raise BadInputError(str(error)) from error
    click.echo(json.dumps(view) if as_json else "\n".join(as_text(view)))
