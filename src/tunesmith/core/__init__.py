"""The pure core: every decision, and nothing else.

No clock, thread, process, file or global randomness in here; the standard library only. Events come in, decisions with
reasons and commands go out. Start reading at :mod:`tunesmith.core.controller`.
"""
