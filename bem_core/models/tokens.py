"""A tokenizer that needs no files: the bytes of a text."""

from __future__ import annotations

from collections.abc import Iterable


class ByteTokenizer:
    """Makes each byte of the UTF-8 form of a text one token; three more mark begin, end and padding.

    Attributes:
        vocab_size: Number of token ids.
        bos_token_id: Begin of a text.
        eos_token_id: End of a text.
        pad_token_id: Padding.
    """

    bos_token_id = 256
    eos_token_id = 257
    pad_token_id = 258
    vocab_size = 259

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        """Return the token ids of a text.

        Args:
            text: Any text.
            add_special_tokens: Whether begin and end are marked.
        """
        ids = list(text.encode())
        return [self.bos_token_id, *ids, self.eos_token_id] if add_special_tokens else ids

    def decode(self, token_ids: Iterable[int], skip_special_tokens: bool = True) -> str:
        """Return the text of token ids; bytes that are no UTF-8 become U+FFFD.

        Args:
            token_ids: Ids below `vocab_size`.
            skip_special_tokens: Whether begin, end and padding are left out; they are written as ``<bos>``,
                ``<eos>`` and ``<pad>`` otherwise.
        """
        names = {256: b"<bos>", 257: b"<eos>", 258: b"<pad>"}
        parts = (bytes([one]) if one < 256 else b"" if skip_special_tokens else names[one] for one in token_ids)
        return b"".join(parts).decode(errors="replace")
