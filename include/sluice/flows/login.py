"""Airflow's own sign-in, for pages of ours that Airflow serves but does not guard."""

from __future__ import annotations

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagDetails


async def signed_in(token: str) -> bool:
    """Whether ``token``, from Airflow's cookie or a bearer header, is one that Airflow accepts."""
    try:
        user = await get_auth_manager().get_user_from_token(token)
    except Exception:  # noqa: BLE001  # an unreadable token raises whatever its reader likes
        return False
    return user is not None


async def may_edit(token: str, dag_id: str) -> bool:
    """Whether ``token`` is of somebody who may edit this DAG."""
    manager = get_auth_manager()
    try:
        user = await manager.get_user_from_token(token)
        return bool(
            manager.is_authorized_dag(method="PUT", details=DagDetails(id=dag_id), user=user)
        )
    except Exception:  # noqa: BLE001  # as above
        return False
