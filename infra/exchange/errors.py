"""What the embedded exchange refuses."""

from kalshi_arb.domain.errors import KalshiArbError


class ExchangeRefusalError(KalshiArbError):
    """A request that is answered with an error body. The codes are the exchange's own words.

    ``status`` is the HTTP status, ``details`` the free text that the exchange puts beside a code ("" when none).
    """

    def __init__(self, status: int, code: str, details: str = "") -> None:
        super().__init__(f"{code}: {details}" if details else code)
        self.status = status
        self.code = code
        self.details = details

    def body(self) -> dict[str, str]:
        """The three fields every error of the exchange carries."""
        return {"code": self.code, "message": self.code.replace("_", " "), "details": self.details}


class ExchangeStartError(KalshiArbError):
    """The exchange cannot start; the message says what to change."""


class FaultScriptError(KalshiArbError):
    """A fault script cannot be used; the message says what is wrong in it and where. Nothing of it was armed."""
