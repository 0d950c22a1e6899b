"""The retrieval API: what agents call.

``create_app`` (in ``sluice.api.app``) is mounted by Airflow at ``/sluice``; ``standalone`` serves
the same app under the same paths. Nothing of Airflow's authentication protects it: every route of
ours checks a key itself, except the two health checks and the OpenAPI description.
"""
