"""The server's life: load, open the ports, poll for versions, drain."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import uvicorn
from absl import logging
from grpc_health.v1 import health_pb2_grpc
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from cml_tf.errors import UserError
from cml_tf.system.file_faults import file_fault
from export.playground.site import Site
from export.server.calls import Calls
from export.server.catalogue import Catalogue, collect_and_freeze
from export.server.errors import ServingError
from export.server.grpc_services import Health, ModelService, PredictionService, RefuseUnreadable
from export.server.metrics import Metrics
from export.server.model_config import ModelConfig, read_config
from export.server.prediction import warm_up
from export.server.rest import RestApi, application
from export.server.servable import Servable
from export.server.tls import Tls
from export.server.workers import Workers


@dataclass(frozen=True)
class Options:
    """What a user may choose.

    Attributes:
      models: that are served, by name.
      host: address to listen on.
      grpc_port: 0 for any free one.
      rest_port: 0 for any free one.
      config_file: where `models` came from, to be read again; None if it is not.
      poll_seconds: between two looks at the disk.
      any_label: whether labels may point to versions that are not loaded.
      timeout: seconds that a request may take.
      largest: bytes of a message.
      concurrent: requests at once.
      queued: requests that wait.
      grace: seconds that requests in flight get at the end.
      metrics_path: where Prometheus reads; empty for nowhere.
      cors: whether pages of any origin may read the answers.
      health: whether gRPC's health service is there.
      playground: whether the playground's page is there.
      tls: what both ports are encrypted with; None for plain text.
    """

    models: Mapping[str, ModelConfig]
    host: str = "127.0.0.1"
    grpc_port: int = 8500
    rest_port: int = 8501
    config_file: Path | None = None
    poll_seconds: float = 1.0
    any_label: bool = False
    timeout: float = 30.0
    largest: int = 64 * 2**20
    concurrent: int = 4
    queued: int = 256
    grace: float = 30.0
    metrics_path: str = "/monitoring/prometheus/metrics"
    cors: bool = False
    health: bool = False
    playground: bool = False
    tls: Tls | None = None


async def serve(options: Options, ready: Callable[[int, int], None]) -> None:
    """Serves until SIGTERM or SIGINT, then finishes what is in flight; before it is ready, it gives up loading.

    Args:
      options: what and how.
      ready: called with the gRPC and REST ports once every model that has versions answers.

    Raises:
      ServingError: if no version of a model loads, or a label points to none that is loaded.
      UserError: if a port cannot be had.
    """
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    with _bound(options.host, options.rest_port) as rest_socket:
        catalogue = Catalogue(options.models, _load, options.any_label)
        workers = Workers(options.concurrent, options.queued)
        calls = Calls(catalogue, workers, Metrics(), options.timeout, options.largest)
        health = Health()
        grpc_server = _grpc_server(calls, health if options.health else None, options)
        grpc_port = _bind_grpc(grpc_server, options)
        if not await _unless_stopped(stopping, catalogue.start()):
            workers.close()
            return
        await grpc_server.start()
        rest_server = _RestServer(_rest_config(calls, options))
        rest_task = asyncio.create_task(rest_server.serve([rest_socket]))
        polling = asyncio.create_task(_poll(catalogue, options))
        while not rest_server.started and not rest_task.done():
            await asyncio.sleep(0.01)
        collect_and_freeze()
        ready(grpc_port, rest_socket.getsockname()[1])
        await _until_stopped(stopping, rest_task, polling)
        polling.cancel()
        await health.enter_graceful_shutdown()
        rest_server.should_exit = True
        await asyncio.gather(grpc_server.stop(options.grace), rest_task)
        await catalogue.close()
        workers.close()


class _RestServer(uvicorn.Server):
    """Signals belong to the server as a whole."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves them alone."""
        yield


def _load(directory: Path) -> Servable:
    servable = Servable(directory)
    try:
        warm_up(servable, directory)
    except BaseException:
        servable.close()
        raise
    return servable


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        raise UserError(
            f"REST port {port} of {host} cannot be opened: {error.strerror}. Choose another --rest_port."
        ) from error


def _bind_grpc(server: grpc.aio.Server, options: Options) -> int:
    host = f"[{options.host}]" if ":" in options.host else options.host
    address = f"{host}:{options.grpc_port}"
    try:
        if options.tls is not None:
            port = server.add_secure_port(address, options.tls.credentials())
        else:
            port = server.add_insecure_port(address)
    except RuntimeError as error:
        port = 0
        logging.debug("%s", error)
    if not port:
        raise UserError(
            f"gRPC port {options.grpc_port} of {options.host} cannot be opened, perhaps because another server uses "
            "it. Choose another --grpc_port."
        )
    return port


def _grpc_server(calls: Calls, health: Health | None, options: Options) -> grpc.aio.Server:
    server = grpc.aio.server(
        interceptors=[RefuseUnreadable()],
        options=[
            ("grpc.max_receive_message_length", options.largest),
            ("grpc.max_send_message_length", -1),
            # Two servers on one port would answer in turns.
            ("grpc.so_reuseport", 0),
        ],
    )
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(PredictionService(calls), server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(calls), server)
    if health is not None:
        health_pb2_grpc.add_HealthServicer_to_server(health, server)
    return server


def _rest_config(calls: Calls, options: Options) -> uvicorn.Config:
    site = Site(list(options.models)) if options.playground else None
    tls = options.tls
    return uvicorn.Config(
        application(RestApi(calls, options.metrics_path, options.cors, site)),
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="off",
        ws="none",
        ssl_context_factory=(lambda *_: tls.context()) if tls is not None else None,
        timeout_graceful_shutdown=max(1, round(options.grace)),
    )


async def _unless_stopped(stopping: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Whether the work was done; it is given up as soon as the server is told to stop."""
    stop, task = asyncio.create_task(stopping.wait()), asyncio.create_task(work)
    await asyncio.wait([stop, task], return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()
    if task.done():
        task.result()
        return True
    task.cancel()
    return False


async def _until_stopped(stopping: asyncio.Event, *tasks: asyncio.Task[None]) -> None:
    """Returns when the server is told to stop; raises what ended one of its parts before."""
    stop = asyncio.create_task(stopping.wait())
    done, _ = await asyncio.wait([stop, *tasks], return_when=asyncio.FIRST_COMPLETED)
    for task in done - {stop}:
        task.result()
        raise RuntimeError("a part of the server ended unexpectedly.")


async def _poll(catalogue: Catalogue, options: Options) -> None:
    # Not what the file holds by now: it may have been edited while the models were loaded.
    seen: bytes | None = None
    told = ""
    while True:
        await asyncio.sleep(options.poll_seconds)
        content = _content(options.config_file)
        try:
            if options.config_file is not None and content != seen:
                seen = content
                await catalogue.reload(read_config(options.config_file), load_first=True)
            else:
                await catalogue.refresh()
        except (ServingError, OSError) as error:
            fault = " ".join((file_fault(error) or str(error)).split())
            if fault != told:
                logging.error("what is asked for is not served in full: %s", fault)
            told = fault
        else:
            told = ""


def _content(path: Path | None) -> bytes | None:
    """What a file holds; None if there is none, or it cannot be read."""
    try:
        return path.read_bytes() if path else None
    except OSError:
        return None
