"""Random companies in which people come, go, change their names and get each other's addresses.

Two questions are put to what the register makes of each listing. Does anybody, asking by the
address that is theirs today, come under an account that was never theirs? And does it map exactly
what brute force over all listings maps?
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st
from sluice import identities
from sluice.identities import Register
from sluice.model import NativeAccount

ADDRESSES = ["a@x.org", "b@x.org", "c@x.org"]


@dataclass
class Native:
    """One account as it is at the source, and whose it truly is."""

    native_id: str
    person: int
    email: str
    verified: bool = True
    active: bool = True
    listed: bool = True

    def shown(self) -> NativeAccount:
        return NativeAccount(
            native_id=self.native_id, email=self.email, verified=self.verified, active=self.active
        )


@dataclass
class Company:
    """People with addresses, their accounts at one source, and what the register knows of them."""

    dice: random.Random
    address: dict[int, str] = field(default_factory=dict)  # of each person who is here
    accounts: list[Native] = field(default_factory=list)
    register: Register = field(default_factory=Register)
    listings: list[list[NativeAccount]] = field(default_factory=list)
    people: int = 0

    def change(self) -> None:
        """Let one thing happen."""
        self.dice.choice((self._hire, self._hire, self._leave, self._rename, self._second))()

    def _free(self) -> list[str]:
        return [each for each in ADDRESSES if each not in self.address.values()]

    def _hire(self) -> None:
        """Somebody new gets a free address, which may have been anybody's, and mostly an account.

        Or somebody who left comes back to an account of old.
        """
        if not self._free():
            return
        email = self.dice.choice(self._free())
        old = [each for each in self.accounts if each.person not in self.address]
        if old and self.dice.random() < 0.3:
            account = self.dice.choice(old)
            account.email, account.active, account.listed = email, True, True
            self.address[account.person] = email
            return
        self.people += 1
        self.address[self.people] = email
        if self.dice.random() < 0.8:
            self._account(self.people)

    def _account(self, person: int) -> None:
        number = len(self.accounts) + 1
        verified = self.dice.random() < 0.8
        email = self.address[person] if verified else self.dice.choice(ADDRESSES)  # or a lie
        self.accounts.append(Native(str(number), person, email, verified))

    def _leave(self) -> None:
        """Somebody goes; their accounts are deactivated, deleted, or lose the address."""
        if not self.address:
            return
        person = self.dice.choice(sorted(self.address))
        del self.address[person]
        for each in self.accounts:
            if each.person == person:
                how = self.dice.choice(("deactivated", "deleted", "unverified"))
                each.active = how != "deactivated"
                each.listed = how != "deleted"
                each.verified = each.verified and how != "unverified"

    def _rename(self) -> None:
        """Somebody gets another address, and the source hears of it."""
        if not self.address or not self._free():
            return
        person = self.dice.choice(sorted(self.address))
        self.address[person] = self.dice.choice(self._free())
        for each in self.accounts:
            if each.person == person and each.verified:
                each.email = self.address[person]

    def _second(self) -> None:
        if self.address:
            self._account(self.dice.choice(sorted(self.address)))

    def read(self) -> None:
        """List the source."""
        listed = [each.shown() for each in self.accounts if each.listed]
        self.dice.shuffle(listed)
        self.listings.append(listed)
        self.register = identities.observe(self.register, "s", listed)

    def confirm(self) -> None:
        """Let an operator, who knows everybody, confirm whatever waits and is true."""
        for native_id, standing in list(self.register.accounts.items()):
            true = self.accounts[int(native_id) - 1]
            theirs = self.address.get(true.person) == standing.email
            if standing.held == identities.REUSED and theirs:
                self.register = identities.confirm(self.register, native_id)

    def mapped(self) -> dict[str, str]:
        """Whose each account is, by address."""
        return {
            str(each.account).rpartition(":")[2]: str(each.person).removeprefix("user:")
            for each in identities.mapped("s", self.register)
        }

    def check_nobody_is_somebody_else(self) -> None:
        """Asking by the address of today gives accounts of one's own, and active ones."""
        at = {email: person for person, email in self.address.items()}
        for native_id, email in self.mapped().items():
            account = self.accounts[int(native_id) - 1]
            assert account.active and account.listed and account.verified
            assert email == account.email
            assert email not in at or at[email] == account.person, (native_id, email, self)


def brute_force(listings: list[list[NativeAccount]]) -> dict[str, str]:
    """Accounts that are active and verified now, and whose address no other one ever had."""
    ever = {(each.email, each.native_id) for listed in listings for each in listed if each.verified}
    return {
        each.native_id: str(each.email)
        for each in listings[-1]
        if each.active and each.verified and sum(1 for email, _ in ever if email == each.email) == 1
    }


@settings(max_examples=400, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(2, 25))
def test_without_an_operator_exactly_what_was_never_shared_is_mapped(
    dice: random.Random, steps: int
) -> None:
    """At every reading: no more, which would be a leak, and no less, which would be a denial."""
    company = Company(dice)
    for _ in range(steps):
        company.change()
        if dice.random() < 0.5:
            company.read()
            company.check_nobody_is_somebody_else()
            assert company.mapped() == brute_force(company.listings)


@settings(max_examples=400, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(2, 40))
def test_nobody_gets_rights_that_their_own_account_did_not_have(
    dice: random.Random, steps: int
) -> None:
    """Whatever happens between two readings, and with an operator who confirms what is true."""
    company = Company(dice)
    for _ in range(steps):
        company.change()
        if dice.random() < 0.5:
            company.read()
            company.check_nobody_is_somebody_else()
            if dice.random() < 0.5:
                company.confirm()
                company.check_nobody_is_somebody_else()
