"""Answers of ``/v1/models`` and ``/v1/engines``."""

from __future__ import annotations

from typing import Literal

from msgspec import UNSET, UnsetType

from llmcore_server.v1_answers.strict import Strict, Whole


class ServedModel(Strict, frozen=True, kw_only=True, tag_field="object", tag="model"):
    """A model under one of its names; an adapter tells whose it is, as vLLM's."""

    id: str
    created: Whole
    owned_by: Literal["llmcore"]
    parent: str | UnsetType = UNSET


class ServedModels(Strict, frozen=True, tag_field="object", tag="list"):
    """Every name that a request may ask for."""

    data: list[ServedModel]


class ListedEngine(Strict, frozen=True, tag_field="object", tag="engine"):
    """A model as openai before 1.0 lists it."""

    id: str
    owner: Literal["llmcore"]
    ready: Literal[True]


class ListedEngines(Strict, frozen=True, tag_field="object", tag="list"):
    """Every model of this server."""

    data: list[ListedEngine]


class ServedEngine(Strict, frozen=True, kw_only=True, tag_field="object", tag="engine"):
    """One model, as an engine and as what `ServedModel` tells."""

    id: str
    owner: Literal["llmcore"]
    ready: Literal[True]
    created: Whole
    owned_by: Literal["llmcore"]
    parent: str | UnsetType = UNSET
