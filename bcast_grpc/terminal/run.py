"""The terminal client from its options to its exit code."""

from __future__ import annotations

import asyncio

import bcast_grpc
from bcast_grpc.console.exits import EXIT_INTERRUPTED, EXIT_NOT_ALL, EXIT_PIPE, complain, exit_code
from bcast_grpc.errors import BcastError, ErrorCode
from bcast_grpc.terminal.arguments import PROGRAM, Options


def run(options: Options) -> int:
    """Run the client to its end; an error is reported on stderr.

    Returns:
        The exit code.
    """
    try:
        return asyncio.run(_take_part(options))
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        return EXIT_PIPE
    except BcastError as error:
        lacks_token = error.code is ErrorCode.UNAUTHENTICATED and not options.token
        complain(PROGRAM, f"{error}; present one by --token-file or BCAST_TOKEN" if lacks_token else str(error))
        return exit_code(error)
    except OSError as error:
        complain(PROGRAM, f"cannot read the input or write the output: {error.strerror}")
        return EXIT_NOT_ALL


async def _take_part(options: Options) -> int:
    if options.interactive:
        from bcast_grpc.terminal import conversation  # a pipeline must start without importing prompt_toolkit

        async with _connect(options, conversation.NOTICES) as chat:
            return await conversation.run(chat, options.name, colour=options.colour)
    from bcast_grpc.terminal import pipeline

    async with _connect(options, "all" if options.json else pipeline.NOTICES) as chat:
        return await pipeline.run(chat, options)


def _connect(options: Options, events: str | tuple[str, ...]) -> bcast_grpc.Chat:
    return bcast_grpc.connect(
        options.target,
        name=options.name,
        room=options.room,
        events=events,
        token=options.token,
        tls=options.tls,
        history=options.history,
        max_downtime_s=options.max_downtime_s,
    )
