"""Airflow's own sign-in, for pages of ours that Airflow serves but does not guard."""

from __future__ import annotations

from airflow.api_fastapi.app import get_auth_manager


async def signed_in(token: str) -> bool:
    """Whether ``token``, from Airflow's cookie or a bearer header, is one that Airflow accepts."""
    try:
        user = await get_auth_manager().get_user_from_token(token)
    except Exception:  # noqa: BLE001  # an unreadable token raises whatever its reader likes
        return False
    return user is not None
