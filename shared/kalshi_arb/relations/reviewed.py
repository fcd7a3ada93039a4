"""The reviewed registry: clauses of rules texts that were read in full, sentence by sentence.

The key is the series and the hash of the text's wording (``rules.wording``). A text whose wording changes is
unreviewed again. An entry adds states and takes none away: what it does not list, the free reading may still find. So a
wrong entry can cost an opportunity and never prove one. Entries that would raise a grade need more than this.

What was read is one market's ``rules_primary`` and ``rules_secondary`` per wording, as of August 2026: not the contract
terms behind them, and no second person has confirmed the reading. A tie that has a market of its own needs no entry.
"""

from collections.abc import Mapping
from enum import Enum, unique


@unique
class EdgeRule(Enum):
    """A clause that lets markets settle at something other than YES or NO."""

    FAIR_PRICE = "fair_price"  # not played, or a player who never plays: each market at a price of its own
    EVEN_SPLIT = "even_split"  # a tie, or no match at all, pays each side one half


REVIEWED: Mapping[tuple[str, str], tuple[EdgeRule, ...]] = {
    ("KXATPMATCH", "1a7ca926ee3881eb2d432522cb4632617a56deb8ce7049bc861d843e71bcd971"): (EdgeRule.FAIR_PRICE,),
    ("KXITFWMATCH", "20c4b006722c94f35567b34caead9ae4bb83e1f49235932edd8ecb31783f8131"): (EdgeRule.EVEN_SPLIT,),
    ("KXLOLGAME", "0267cce6c580363bc9f1c98734228a1834bd56d9a0eee02fb97b4cbc94546192"): (EdgeRule.FAIR_PRICE,),
    ("KXMLBGAME", "a455379eab661d88a03dcc8f3b1a8cdac83882a57462339a37e41795c6096e49"): (EdgeRule.FAIR_PRICE,),
    ("KXMLSGAME", "ccfbfa66e9032c08767a161c59b178cc1797c7ccf0ddac741886007683b0a6e4"): (EdgeRule.FAIR_PRICE,),
    ("KXMLSGAME", "dfde8964513ad212ab521b3b69bc49d2c0cb0d718b3b0305cda75346d2cfa886"): (EdgeRule.FAIR_PRICE,),
    ("KXNCAAFGAME", "fb4d4266615c2717764041de746d3624b10dde04af2ca9aeeb664369e65919d1"): (EdgeRule.FAIR_PRICE,),
    ("KXNFLGAME", "ce71dd61bbb9d7225ef59d00a8146e5849b0de2b6b5741eafd6de280afe5e781"): (
        EdgeRule.FAIR_PRICE,
        EdgeRule.EVEN_SPLIT,
    ),
    ("KXWNBAGAME", "3843e33447b60261d113679b1a6a42d66fcbfe5637e078eee11f70eba170682a"): (EdgeRule.FAIR_PRICE,),
    ("KXWNBAPTS", "6b7f09422f0dca73a4a6122899d9ea0c4a94cd976c55522711d5814497a8ff8b"): (EdgeRule.FAIR_PRICE,),
    ("KXWNBASPREAD", "326c64f50a38ac493e55c51f18c793a8ea2a8d23597bc2125ca03aff01070cdb"): (EdgeRule.FAIR_PRICE,),
    ("KXWNBATOTAL", "cd674c592233db1cdfc5c9bc69792ae4c32f80533c40fbb3afe842260f7ba906"): (EdgeRule.FAIR_PRICE,),
    ("KXWTAMATCH", "1a7ca926ee3881eb2d432522cb4632617a56deb8ce7049bc861d843e71bcd971"): (EdgeRule.FAIR_PRICE,),
}
