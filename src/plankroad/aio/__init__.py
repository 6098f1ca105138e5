"""plankroad and asyncio: `AsyncStack` has the signatures of an event loop and of asyncio's streams, on a `Driver`."""
