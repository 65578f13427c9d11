"""Integrations with other libraries: one module each, imported on use."""

from __future__ import annotations

__all__: list[str] = []
