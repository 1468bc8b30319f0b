"""Who asked to be forgotten, and is this one of them? A list of keyed hashes that tells nobody's name."""

from __future__ import annotations

import hmac
import json
import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from clientbook.faults import ClientbookError
from clientbook.store import write_json

LIST = "suppressed.json"
KEY = "suppression.key"
_METHOD = "HMAC-SHA256"


@dataclass(frozen=True)
class Suppressed:
    """The list and its key: without the key nobody can tell who is on it, or whether somebody is.

    Parameters
    ----------
    key
        The book's own.
    hashes
        Of records, e-mail addresses and telephone numbers.
    country
        Default for telephone numbers.
    """

    key: bytes
    hashes: frozenset[str]
    country: str

    def record(self, source: str, person_id: str) -> str:
        """The hash of a person record's key.

        Parameters
        ----------
        source, person_id
            The key.
        """
        return self._hash("record", f"{source}\x1f{person_id}")

    def email(self, address: str) -> str:
        """The hash of an e-mail address.

        Parameters
        ----------
        address
            In any spelling.
        """
        return self._hash("email", normal_email(address))

    def phone(self, number: str) -> str:
        """The hash of a telephone number.

        Parameters
        ----------
        number
            In any spelling.
        """
        return self._hash("phone", normal_phone(number, self.country))

    def __contains__(self, digest: str) -> bool:
        return digest in self.hashes

    def _hash(self, kind: str, value: str) -> str:
        return hmac.digest(self.key, f"{kind}\x1e{value}".encode(), "sha256").hex()


def normal_email(address: str) -> str:
    """An e-mail address without what does not tell addresses apart.

    Parameters
    ----------
    address
        In any spelling.
    """
    return address.strip().lower()


def normal_id(person_id: str) -> str:
    """A person's id as cleaning leaves it: capitals make no other of one that is an e-mail address.

    Parameters
    ----------
    person_id
        As somebody wrote it.
    """
    bare = person_id.strip()
    return bare.lower() if "@" in bare else bare


def normal_phone(number: str, country: str) -> str:
    """A telephone number in international form; its digits where it is none.

    Parameters
    ----------
    number
        In any spelling.
    country
        Whose numbers need no code.
    """
    import phonenumbers

    try:
        parsed = phonenumbers.parse(number, country)
    except phonenumbers.NumberParseException:
        return "".join(letter for letter in number if letter.isdigit())
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)


def read(store: Path, country: str) -> Suppressed | None:
    """The book's list; None where nobody was forgotten.

    Parameters
    ----------
    store
        The book's store.
    country
        Default for telephone numbers.

    Raises
    ------
    ClientbookError
        If there is a list and its key is gone: then those on it could not be kept out.
    """
    file, key = store / LIST, store / KEY
    if not file.is_file():
        return None
    if not key.is_file():
        raise ClientbookError(f"{file} is there, and its key {key} is not: nobody on it can be recognised. Restore the key.")
    hashes = frozenset(json.loads(file.read_text(encoding="utf-8"))["hashes"])
    return Suppressed(bytes.fromhex(key.read_text(encoding="ascii")), hashes, country) if hashes else None


def open_list(store: Path, country: str) -> Suppressed:
    """The book's list to add to; a new one, with a new key, where there is none.

    Parameters
    ----------
    store
        The book's store.
    country
        Default for telephone numbers.
    """
    found = read(store, country)
    if found is not None:
        return found
    key = store / KEY
    if not key.is_file():
        store.mkdir(parents=True, exist_ok=True)
        handle = os.open(key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(32))
    return Suppressed(bytes.fromhex(key.read_text(encoding="ascii")), frozenset(), country)


def add(store: Path, found: Suppressed, hashes: Iterable[str]) -> None:
    """Put hashes on the book's list.

    Parameters
    ----------
    store
        The book's store.
    found
        As from :func:`open_list`.
    hashes
        Of :meth:`Suppressed.record`, :meth:`Suppressed.email` and :meth:`Suppressed.phone`.
    """
    # sorted, or their order would tell who was forgotten when
    write_json(store / LIST, {"method": _METHOD, "hashes": sorted(found.hashes | set(hashes))})
