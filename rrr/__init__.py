__version__ = "0.0.1"

from .core.caches import guard_caches

guard_caches()
