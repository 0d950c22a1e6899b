"""The routes. FastAPI reads their annotations, so those are not put off here."""

import asyncio
import contextlib
import functools
import threading
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from http import HTTPStatus
from typing import Annotated

from fastapi import Depends, FastAPI, Request, Response, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

import sluice
from sluice.access import Freshness
from sluice.api import refusals
from sluice.api.guard import Guard
from sluice.api.services import Services
from sluice.api.shapes import (
    Alive,
    DocumentAnswer,
    ErrorAnswer,
    Ready,
    SearchAnswer,
    SearchRequest,
)
from sluice.errors import BadInput, SluiceError, Unauthenticated
from sluice.keys import person_for
from sluice.model import Caller, Principal
from sluice.settings import Settings, load

PREFIX = "/sluice"  # where Airflow mounts the app, and where ``standalone`` does
ON_BEHALF_OF = "X-Sluice-On-Behalf-Of"

_bearer = HTTPBearer(auto_error=False, description="An agent's key: slc_…")
_header = APIKeyHeader(name="X-API-Key", auto_error=False, description="The same key.")


def create_app(settings: Settings | None = None) -> FastAPI:
    """Return the app, to be mounted at :data:`PREFIX`.

    Nothing is read, opened or imported that takes time before the app starts. A server that starts
    without its catalog, its index or its settings says so in its answers, until it has them.

    Args:
        settings: None reads them from the environment when first needed.
    """
    # The loop is that of the lifespan, which has begun before anyone asks.
    services = functools.cache(
        lambda: Services(settings or load(), getattr(app.state, "loop", None))
    )
    app = FastAPI(
        title="Sluice",
        version=sluice.__version__,
        summary="Permitted context for agents.",
        lifespan=_lifespan(services),
        docs_url=None,  # those pages load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        responses={
            status: {"model": ErrorAnswer, "description": HTTPStatus(status).phrase}
            for status in refusals.STATUSES
        },
    )
    app.add_middleware(Guard)
    refusals.install(app)
    _add_routes(app, services)
    return app


def standalone(settings: Settings | None = None) -> FastAPI:
    """Return an app that serves ``create_app`` under the same paths as Airflow does."""
    app = create_app(settings)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with app.router.lifespan_context(app):  # a mounted app's own is not run for it
            yield

    outside = FastAPI(lifespan=lifespan, openapi_url=None, redirect_slashes=False)
    refusals.install(outside)
    outside.mount(PREFIX, app)
    return outside


def _lifespan(
    services: Callable[[], Services],
) -> Callable[[FastAPI], contextlib.AbstractAsyncContextManager[None]]:
    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.loop = asyncio.get_running_loop()
        threading.Thread(target=_warm, args=[services], daemon=True).start()
        yield
        with contextlib.suppress(SluiceError):
            await asyncio.to_thread(services().close)  # which waits for what it closes on this loop

    return lifespan


def _warm(services: Callable[[], Services]) -> None:
    """Open what takes seconds, so that the first question does not wait for it."""
    with contextlib.suppress(SluiceError):  # whoever asks is told
        services().serving.index.ping()


def _add_routes(app: FastAPI, services: Callable[[], Services]) -> None:
    def caller(
        bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
        api_key: Annotated[str | None, Security(_header)],
    ) -> Caller:
        presented = bearer.credentials if bearer else api_key
        if presented is None:
            raise Unauthenticated("no key was sent", cure="Send `Authorization: Bearer slc_…`")
        return services().keys.authenticate(presented)

    asking = Annotated[Caller, Depends(caller)]
    named = Annotated[str | None, Depends(_on_behalf_of)]

    @app.post("/v1/search")
    def search(
        asked: SearchRequest, agent: asking, header: named, request: Request
    ) -> SearchAnswer:
        """Ask a question on behalf of a person."""
        answer = services().retriever.search(
            agent,
            _person(agent, asked.as_, header),
            asked.query,
            asked.k,
            freshness=_freshness(asked),
            trace_id=request.state.trace_id,
        )
        return SearchAnswer.of(answer)

    @app.get("/v1/documents/{document_id:path}")
    def document(
        document_id: str, agent: asking, header: named, request: Request
    ) -> DocumentAnswer:
        """Fetch a whole document on behalf of a person. Absent and forbidden look the same."""
        fetched = services().retriever.document(
            agent, _person(agent, None, header), document_id, trace_id=request.state.trace_id
        )
        return DocumentAnswer.of(fetched)

    @app.get("/healthz")
    async def healthz() -> Alive:  # on the loop: searches that wait take no turn of its own
        """Say that the process runs."""
        return Alive()

    @app.get("/healthz/ready")
    def ready(response: Response) -> Ready:
        """Say of each thing that answering needs whether it can be used: 200 or 503."""
        works = {
            "catalog": _works(lambda: services().catalog.check()),
            "embedder": _works(lambda: services().check_embedder()),
            "index": _works(lambda: services().check_index()),
        }
        culprit = next((name for name, well in works.items() if not well), None)
        if culprit:
            response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
        return Ready(ready=culprit is None, culprit=culprit, **works)


def _works(use: Callable[[], object]) -> bool:
    try:
        use()
    except SluiceError:
        return False
    return True


def _on_behalf_of(request: Request) -> str | None:
    """The person that the header names, once; header text is UTF-8."""
    found = set(request.headers.getlist(ON_BEHALF_OF))
    if len(found) > 1:
        raise BadInput("the header names two people", subject=ON_BEHALF_OF)
    if not found:
        return None
    try:
        return found.pop().encode("latin-1").decode()
    except UnicodeDecodeError:
        raise BadInput("the header is not UTF-8", subject=ON_BEHALF_OF) from None


def _person(caller: Caller, field: str | None, header: str | None) -> Principal:
    if field is not None and header is not None and field != header:
        raise BadInput(f'"as" and {ON_BEHALF_OF} name two people')
    return person_for(caller, header if field is None else field)


def _freshness(asked: SearchRequest) -> Freshness:
    most = asked.max_staleness_seconds
    return Freshness(
        min_acl_version=asked.min_acl_version,
        max_staleness=None if most is None else timedelta(seconds=most),
    )
