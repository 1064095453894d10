"""Tokens of a session, signed with a key."""

import hashlib
import hmac
from dataclasses import dataclass


@dataclass
class SecurityContext:
    user_id: str
    role: str = "USER"


class AuthenticationManager:
    def __init__(self, master_key: bytes):
        self._key = master_key

    def sign(self, context: SecurityContext) -> str:
        return hmac.new(self._key, f"{context.user_id}:{context.role}".encode(), hashlib.sha256).hexdigest()

    def verify(self, context: SecurityContext, token: str) -> bool:
        return hmac.compare_digest(self.sign(context), token)
