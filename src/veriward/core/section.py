"""What the parts of a subject have in common."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A frozen part of a subject that knows its keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, protected_namespaces=())
