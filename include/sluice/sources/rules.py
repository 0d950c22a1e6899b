"""What an operator decides of objects whose permissions the source cannot tell."""

from __future__ import annotations

from sluice.model import LandedAcl, Rules


def ruled(acl: LandedAcl, rules: Rules) -> LandedAcl:
    """Return ``acl`` with the rule's grants, if it could not be read and there is a rule for it.

    One that could be read is never loosened; without a rule it stays an error, and hidden.
    """
    if acl.error is None:
        return acl
    grants = rules.grants(acl.key)
    return acl if grants is None else LandedAcl(key=acl.key, grants=grants)
