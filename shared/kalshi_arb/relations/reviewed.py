"""The reviewed registry's entries: rules texts that were read in full, sentence by sentence.

What was read is one market's ``rules_primary`` and ``rules_secondary`` per wording, as of July and August 2026: not the
contract terms behind them, and no second person has confirmed the reading. A clause that is not listed may still be
found by the free reading, so a missing clause costs nothing but the words "read in full". A tie that has a market of
its own needs no entry. Where a sentence leaves something open, the entry leaves it open: no text that was read says
whether a bracket pays at its ends, or that an averaged value is rounded.
"""

from kalshi_arb.domain.market import StrikeType
from kalshi_arb.relations.registry import EdgeRule, Entry, Instant, LineReading, Registry

_FAIR = (EdgeRule.FAIR_PRICE,)


def _index_average(series: str, coin: str, code: str) -> tuple[Entry, ...]:
    """The three wordings of an hourly event on a real-time index: above, below, between."""
    reason = (
        "The first part names the index and says that the simple average of its sixty one-second values before the "
        "hour is compared at that hour, which is the closing time; the second part says that the average of sixty "
        "index prices is the official and final value and does not say that it is rounded. Whether 'between' pays at "
        "both ends is not said."
    )

    def reading(kind: StrikeType) -> LineReading:
        return LineReading(
            underlying=coin,
            source=f"CF Benchmarks {code}",
            statistic="simple average of the sixty one-second index values before the instant",
            unit="US dollars",
            instant=Instant.CLOSE,
            strike_types=frozenset({kind}),
        )

    phrases = (
        f"CF Benchmarks' {coin} Real-Time Index ({code})",
        "simple average of the sixty seconds",
        "The official and final value is the average of these prices.",
    )
    wordings = {
        StrikeType.GREATER: "2ad91101ae06ecc4bc410aafba74a41b19c5555f361d73bc2e669e8fbdd25f6b",
        StrikeType.LESS: "ab0e3f17935927cc07b9e99dd5f675cf839e3645c0c198d6e8deb3683c298737",
        StrikeType.BETWEEN: "67a53e8320fe68649d1be3a2799b22285d3099b8b29819c5444ad910dd7cb59a",
    }
    return tuple(Entry(series, known, reason, phrases, line=reading(kind)) for kind, known in wordings.items())


_SPLIT = (EdgeRule.EVEN_SPLIT,)
_TWO_DAYS = "A game that is cancelled or moved by more than two days settles at a fair price."
_NOT_STARTED = "A game that is not started within 48 hours settles at a fair market price. Nothing is said of a tie."
_NO_BALL = "A match in which no ball is played settles at a fair price; a postponed one stays open for two weeks."
_SOCCER = (
    "Ninety minutes and stoppage time count; a tie pays the market called Tie. A game that is cancelled or moved by "
    "more than 48 hours settles at a fair price."
)
_SILENT = "One sentence compares the score with the strike. Nothing is said of a game that is cancelled or cut short."

_GAMES: tuple[tuple[str, str, tuple[EdgeRule, ...], str], ...] = (
    ("KXATPMATCH", "1a7ca926ee3881eb2d432522cb4632617a56deb8ce7049bc861d843e71bcd971", _FAIR, _NO_BALL),
    ("KXCFLSPREAD", "7b815164771f04cd74f8e82e9cdc2bc27b81adfff59959c9e504b72dbf7215e6", (), _SILENT),
    (
        "KXITFWMATCH",
        "20c4b006722c94f35567b34caead9ae4bb83e1f49235932edd8ecb31783f8131",
        _SPLIT,
        "A match without a ball played pays one half on each market; who gives up after the start loses.",
    ),
    (
        "KXLOLGAME",
        "0267cce6c580363bc9f1c98734228a1834bd56d9a0eee02fb97b4cbc94546192",
        _FAIR,
        "A match not started within 48 hours, cancelled or forfeited before play settles at the fair market price.",
    ),
    ("KXMLBGAME", "a455379eab661d88a03dcc8f3b1a8cdac83882a57462339a37e41795c6096e49", _FAIR, _TWO_DAYS),
    ("KXMLBSPREAD", "5527364ad8ef432f565105c22eb8d16677d549bc28415f26641e7ec311c7a5d7", (), _SILENT),
    ("KXMLBTOTAL", "b6bbf98c383387ad9957ae096a2fa11bb9966a2bbbe118bda06a9f5a652fef2a", (), _SILENT),
    ("KXMLSGAME", "ccfbfa66e9032c08767a161c59b178cc1797c7ccf0ddac741886007683b0a6e4", _FAIR, _SOCCER),
    ("KXMLSGAME", "dfde8964513ad212ab521b3b69bc49d2c0cb0d718b3b0305cda75346d2cfa886", _FAIR, _SOCCER),
    (
        "KXNBA",
        "ff8a037491cf9b74259854788d8de66c440671b6c952e1e27a753cbe9e2bf512",
        (),
        "One sentence: the winner of the finals. It does not say that the list is complete, nor what no finals mean.",
    ),
    (
        "KXNCAAFGAME",
        "f6fbd4e08abd56e516556bdf45d18d3c03b95115ff3db563d8b013c894b3a3f6",
        (*_FAIR, *_SPLIT),
        "A tie pays one half on each team; a game not played within two weeks settles at a fair price for each team.",
    ),
    ("KXNCAAFGAME", "fb4d4266615c2717764041de746d3624b10dde04af2ca9aeeb664369e65919d1", _FAIR, _NOT_STARTED),
    (
        "KXNFLGAME",
        "ce71dd61bbb9d7225ef59d00a8146e5849b0de2b6b5741eafd6de280afe5e781",
        (*_FAIR, *_SPLIT),
        "A tie pays one half on each team; a game not started within 48 hours settles at a fair market price.",
    ),
    (
        "KXNFLMVP",
        "2effc36559af1f76c94d15ed8c7ec277c90879a8b95b496edff044b9a2ca29d3",
        (),
        "One sentence: the player who gets the award. It does not say that the list of players is complete.",
    ),
    ("KXWNBAGAME", "3843e33447b60261d113679b1a6a42d66fcbfe5637e078eee11f70eba170682a", _FAIR, _TWO_DAYS),
    (
        "KXWNBAPTS",
        "6b7f09422f0dca73a4a6122899d9ea0c4a94cd976c55522711d5814497a8ff8b",
        _FAIR,
        "A player who is active and never plays, or a game not played within two days, settles at a fair price.",
    ),
    ("KXWNBASPREAD", "326c64f50a38ac493e55c51f18c793a8ea2a8d23597bc2125ca03aff01070cdb", _FAIR, _TWO_DAYS),
    ("KXWNBATOTAL", "cd674c592233db1cdfc5c9bc69792ae4c32f80533c40fbb3afe842260f7ba906", _FAIR, _TWO_DAYS),
    ("KXWTAMATCH", "1a7ca926ee3881eb2d432522cb4632617a56deb8ce7049bc861d843e71bcd971", _FAIR, _NO_BALL),
)

REVIEWED = Registry(
    (
        *_index_average("KXBTC", "Bitcoin", "BRTI"),
        *_index_average("KXETH", "Ethereum", "ERTI"),
        *(Entry(series, known, reason, clauses=clauses) for series, known, clauses, reason in _GAMES),
    )
)
