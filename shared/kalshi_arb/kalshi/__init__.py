"""The exchange as it speaks on the wire: signing, REST, the order book stream, and their errors."""
