# Only what pyright must know to accept subclasses with class arguments (name=, traits=, dialect=).
from typing import Any

def __getattr__(name: str) -> Any: ...

class Operation:
    OPERATION_NAME: str
    def __init__(self, *arguments: Any, **fields: Any) -> None: ...
    def __init_subclass__(
        cls,
        *,
        name: str | None = None,
        traits: list[Any] | None = None,
        dialect: type | None = None,
        **options: Any,
    ) -> None: ...
    def __getattr__(self, name: str) -> Any: ...

class Dialect:
    DIALECT_NAMESPACE: str
    Operation: type[Operation]
    Type: Any
    Attribute: Any
    def __init_subclass__(cls, name: str, **options: Any) -> None: ...
    @classmethod
    def load(cls) -> None: ...
    def __getattr__(self, name: str) -> Any: ...
