"""What goes over the wire, as OpenAPI describes it."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from sluice.model import Hit, Reason, SourceFreshness
from sluice.retrieve import Answer, Fetched


class SearchRequest(BaseModel):
    """A question, asked on behalf of a person. Unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", strict=True)

    query: str = Field(description="The question.", examples=["How do I reset a Wren?"])
    k: int = Field(10, description="How many hits are wanted.")
    as_: str | None = Field(
        None,
        alias="as",
        description="The person whose rights count. May be left out where the key acts for "
        "exactly one, or where X-Sluice-On-Behalf-Of names the person.",
        examples=["user:ada@example.com"],
    )
    min_acl_version: int | None = Field(
        None, ge=0, description="Refuse (409) unless permissions are at least this new."
    )
    max_staleness_seconds: float | None = Field(
        None,
        ge=0,
        le=1e9,
        allow_inf_nan=False,
        description="Refuse (409) if permissions that count here were last read longer ago.",
    )


class ReasonShape(BaseModel):
    """The rule that allowed the person to read."""

    principal: str = Field(description="Whom the rule names.")
    via: list[str] = Field(description="How the person comes under it, step by step.")
    acl_key: str = Field(description="The permission object of the source that has the rule.")
    expires_at: datetime | None

    @classmethod
    def of(cls, reason: Reason) -> ReasonShape:
        """Write a reason down."""
        return cls(
            principal=str(reason.principal),
            via=[str(each) for each in reason.via],
            acl_key=reason.acl_key,
            expires_at=reason.expires_at,
        )


class HitShape(BaseModel):
    """A part of a document that answers the question. It has a rank and no score."""

    rank: int = Field(description="1 is best.")
    document_id: str
    title: str
    uri: str
    path: list[str] = Field(description="The titles above this part.")
    text: str = Field(description="Markdown.")
    ordinal: int = Field(description="0, 1, 2, … in reading order.")
    source: str
    generation: int = Field(description="The version of the document.")
    run_id: str = Field(description="The run that indexed it.")
    updated_at: datetime | None
    reason: ReasonShape

    @classmethod
    def of(cls, hit: Hit) -> HitShape:
        """Write a hit down."""
        return cls(
            rank=hit.rank,
            document_id=hit.document_id,
            title=hit.title,
            uri=hit.uri,
            path=list(hit.path),
            text=hit.text,
            ordinal=hit.ordinal,
            source=hit.source,
            generation=hit.generation,
            run_id=hit.run_id,
            updated_at=hit.updated_at,
            reason=ReasonShape.of(hit.reason),
        )


class SourceShape(BaseModel):
    """How fresh a source is of which the person may read something."""

    source: str
    in_step_at: datetime | None = Field(
        description="What the source showed then is what is searched."
    )
    permissions_at: datetime | None = Field(description="When its permissions were last read.")
    needs_sign_in: bool = Field(
        description="Sluice has lost its access to the source: what is found gets older until an "
        "operator signs in again."
    )
    changed_at: datetime | None = Field(
        description="The newest change at the source among the hits."
    )

    @classmethod
    def of(cls, source: SourceFreshness) -> SourceShape:
        """Write it down."""
        return cls(
            source=source.source,
            in_step_at=source.in_step_at,
            permissions_at=source.permissions_at,
            needs_sign_in=source.needs_sign_in,
            changed_at=source.changed_at,
        )


class SearchAnswer(BaseModel):
    """The best hits that the person may read, best first."""

    hits: list[HitShape]
    acl_version: int = Field(description="How new the permissions are that the answer rests on.")
    trace_id: str = Field(description="Names this read in the audit log.")
    sources: list[SourceShape] = Field(
        description="How fresh each source is of which the person may read something."
    )
    degraded: str | None = Field(
        None, description="Why it is not as good as it can be: found by keywords alone."
    )

    @classmethod
    def of(cls, answer: Answer) -> SearchAnswer:
        """Write an answer down."""
        return cls(
            hits=[HitShape.of(hit) for hit in answer.hits],
            acl_version=answer.acl_version,
            trace_id=answer.trace_id,
            sources=[SourceShape.of(each) for each in answer.sources],
            degraded=answer.degraded,
        )


class DocumentAnswer(BaseModel):
    """A whole document as it is now."""

    document_id: str
    title: str
    uri: str
    text: str = Field(description="Markdown.")
    source: str
    generation: int = Field(description="The version of the document.")
    run_id: str = Field(description="The run that indexed it.")
    updated_at: datetime | None
    reason: ReasonShape
    acl_version: int
    trace_id: str = Field(description="Names this read in the audit log.")

    @classmethod
    def of(cls, fetched: Fetched) -> DocumentAnswer:
        """Write a document down."""
        found = fetched.document
        return cls(
            document_id=found.document.document_id,
            title=found.document.title,
            uri=found.document.uri,
            text=found.text,
            source=found.document.source,
            generation=found.document.generation,
            run_id=found.document.run_id,
            updated_at=found.document.updated_at,
            reason=ReasonShape.of(found.reason),
            acl_version=found.acl_version,
            trace_id=fetched.trace_id,
        )


class Alive(BaseModel):
    """The process runs."""

    status: str = "alive"


class Ready(BaseModel):
    """Whether each thing that answering needs can be used."""

    ready: bool
    catalog: bool
    index: bool
    embedder: bool
    culprit: str | None = Field(description="The first of them that cannot be used.")


class Problem(BaseModel):
    """What went wrong, and what to do about it."""

    code: str
    message: str
    cure: str | None
    trace_id: str


class ErrorAnswer(BaseModel):
    """The one shape of every error."""

    error: Problem
