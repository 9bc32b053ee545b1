"""The Hub: access, download, purge. The only part of the package that talks to a network."""

from __future__ import annotations

from .access import AccessStatus, access
from .client import Client, Patience
from .download import download, plan_download
from .opening import open_release
from .plan import Plan
from .purge import purge
from .store import Store
from .verify import verify

__all__ = [
    "AccessStatus",
    "Client",
    "Patience",
    "Plan",
    "Store",
    "access",
    "download",
    "open_release",
    "plan_download",
    "purge",
    "verify",
]
