"""Signing in to sources: which grant gets which token, where tokens are kept, how they rotate.

exchange   asks a token endpoint; keeps nothing
vault      seals what is kept, with a data key for each source
tokens     the token of a source: got early, got once, committed before it is used
consent    a person's consent: the link, and what comes back from it
"""

from sluice.auth.consent import Consent
from sluice.auth.tokens import Tokens
from sluice.auth.vault import Vault

__all__ = ["Consent", "Tokens", "Vault"]
