"""Encrypted ports, clients without a certificate, and files that cannot be used."""

from __future__ import annotations

import http.client
import shutil
import ssl
import subprocess
import sys

import grpc
import pytest
from tensorflow_serving.apis import get_model_status_pb2, model_service_pb2_grpc

from export.client import ClientError, FewShotClient, RequestError, Settings
from export.rollout.running_server import AVAILABLE, RunningServer
from export.server.tls import Tls, TlsError, from_config, from_files
from tests.export.server.running import ROOT, running
from tests.export.server.tiny_models import write_halver

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl, which makes certificates, is missing")


def _openssl(*arguments, cwd):
    subprocess.run(["openssl", *arguments], cwd=cwd, check=True, capture_output=True)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """ca.pem; server.pem and client.pem signed by it; stranger.pem by nobody; each with its .key."""
    directory = tmp_path_factory.mktemp("certificates")
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    for name in ("ca", "stranger"):
        _openssl(
            *("req", "-x509", *curve, "-keyout", f"{name}.key", "-out", f"{name}.pem", "-days", "2"),
            *("-subj", f"/CN={name}"),
            cwd=directory,
        )
    (directory / "names").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
    for name in ("server", "client"):
        _openssl("req", *curve, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}", cwd=directory)
        _openssl(
            *("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"),
            *("-out", f"{name}.pem", "-days", "2", "-extfile", "names"),
            cwd=directory,
        )
    _openssl("pkey", "-in", "server.key", "-aes256", "-passout", "pass:secret", "-out", "locked.key", cwd=directory)
    return directory


@pytest.fixture(scope="module")
def halver(tmp_path_factory):
    directory = tmp_path_factory.mktemp("encrypted") / "halver"
    directory.mkdir()
    write_halver(directory / "1", 1.0)
    return directory


def _status_over_grpc(server, **credentials):
    with grpc.secure_channel(server.grpc_address, grpc.ssl_channel_credentials(**credentials)) as channel:
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = "halver"
        answer = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(request, timeout=30)
        return [(entry.version, entry.state) for entry in answer.model_version_status]


def _status_over_rest(server, context):
    connection = http.client.HTTPSConnection("127.0.0.1", server.rest_port, timeout=30, context=context)
    try:
        connection.request("GET", "/v1/models/halver")
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.slow
def test_both_ports_are_encrypted_and_plain_text_gets_no_answer(certificates, halver, tmp_path):
    flags = [f"--tls_certificate={certificates / 'server.pem'}", f"--tls_key={certificates / 'server.key'}"]
    with running(f"--model_dir={halver}", *flags, log=tmp_path / "log") as server:
        root = (certificates / "ca.pem").read_bytes()
        assert _status_over_grpc(server, root_certificates=root) == [(1, 30)]
        assert _status_over_rest(server, ssl.create_default_context(cafile=certificates / "ca.pem")) == 200
        with pytest.raises(ssl.SSLCertVerificationError):
            _status_over_rest(server, ssl.create_default_context(cafile=certificates / "stranger.pem"))
        with pytest.raises(grpc.RpcError) as error:
            _status_over_grpc(server, root_certificates=(certificates / "stranger.pem").read_bytes())
        assert error.value.code() == grpc.StatusCode.UNAVAILABLE
        with pytest.raises((http.client.HTTPException, OSError)):
            server.rest("GET", "/v1/models/halver")


def test_only_clients_that_the_authority_signed_are_let_in(certificates, halver, tmp_path):
    config = tmp_path / "ssl.config"
    config.write_text(_ssl_config(certificates, "server_key", "server_cert", "custom_ca") + "client_verify: true\n")
    with running(f"--model_dir={halver}", f"--ssl_config_file={config}", log=tmp_path / "log") as server:
        root = (certificates / "ca.pem").read_bytes()
        known = {
            "private_key": (certificates / "client.key").read_bytes(),
            "certificate_chain": (certificates / "client.pem").read_bytes(),
        }
        assert _status_over_grpc(server, root_certificates=root, **known) == [(1, 30)]
        with pytest.raises(grpc.RpcError):
            _status_over_grpc(server, root_certificates=root)
        with pytest.raises(grpc.RpcError):
            _status_over_grpc(server, root_certificates=(certificates / "stranger.pem").read_bytes(), **known)
        with pytest.raises((http.client.HTTPException, OSError)):
            server.rest("GET", "/v1/models/halver")
        context = ssl.create_default_context(cafile=certificates / "ca.pem")
        with pytest.raises((ssl.SSLError, http.client.HTTPException, OSError)):
            _status_over_rest(server, context)
        context.load_cert_chain(certificates / "client.pem", certificates / "client.key")
        assert _status_over_rest(server, context) == 200
        _ask_with_the_client(server, certificates)
        credentials = grpc.ssl_channel_credentials(root, *known.values())
        rolled = RunningServer(server.grpc_address, credentials)
        assert rolled.versions("halver")[1].state == AVAILABLE
        rolled.close()


def _ask_with_the_client(server, certificates):
    authority, certificate, key = (certificates / name for name in ("ca.pem", "client.pem", "client.key"))
    for address in (f"grpcs://{server.grpc_address}", f"https://127.0.0.1:{server.rest_port}"):
        known = Settings(attempts=1, ca_certificate=authority, certificate=certificate, key=key)
        # It got through: what it then says is that this is no export.
        with FewShotClient(address, "halver", known) as client, pytest.raises(ClientError, match="this one has .*both"):
            client.interface()
        unknown = Settings(attempts=1, ca_certificate=authority)
        with FewShotClient(address, "halver", unknown) as client, pytest.raises(RequestError) as error:
            client.interface()
        assert error.value.code == "UNAVAILABLE"


def _ssl_config(certificates, *fields):
    files = {"server_key": "server.key", "server_cert": "server.pem", "custom_ca": "ca.pem"}
    text = {field: (certificates / files[field]).read_text() for field in fields}
    return "".join(f"{field}: {_quoted(value)}\n" for field, value in text.items())


def _quoted(text):
    return "\n".join(f'"{line}\\n"' for line in text.splitlines())


def test_a_config_with_a_part_missing_names_it(certificates, tmp_path):
    config = tmp_path / "ssl.config"
    config.write_text(_ssl_config(certificates, "server_key", "server_cert") + "client_verify: true\n")
    with pytest.raises(TlsError, match="must give custom_ca"):
        from_config(config)
    config.write_text("certificate: 'x'\n")
    with pytest.raises(TlsError, match="SSLConfig in text form"):
        from_config(config)


def test_an_authority_is_of_no_use_while_clients_are_not_verified(certificates, tmp_path):
    config = tmp_path / "ssl.config"
    config.write_text(_ssl_config(certificates, "server_key", "server_cert", "custom_ca"))
    assert from_config(config) == Tls(
        (certificates / "server.pem").read_bytes(), (certificates / "server.key").read_bytes(), None
    )


@pytest.mark.parametrize(
    ("certificate", "key", "client_ca", "message"),
    [
        ("none.pem", "server.key", None, "none.pem cannot be read: No such file"),
        ("server.pem", "client.key", None, "the key belongs to another certificate"),
        ("server.key", "server.key", None, "must be PEM files that belong together"),
        ("server.pem", "names", None, "must be PEM files that belong together"),
        ("server.pem", "locked.key", None, "has a passphrase"),
        ("server.pem", "server.key", "names", "authority must be a PEM certificate"),
    ],
)
def test_files_that_cannot_be_used(certificates, certificate, key, client_ca, message):
    with pytest.raises(TlsError, match=message):
        from_files(certificates / certificate, certificates / key, client_ca and certificates / client_ca)


@pytest.mark.slow
def test_the_program_says_so_in_one_line(certificates, halver):
    flags = [f"--tls_certificate={certificates / 'server.pem'}", f"--tls_key={certificates / 'client.key'}"]
    command = [sys.executable, "-m", "export.serve", f"--model_dir={halver}", *flags]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert (result.returncode, len(errors)) == (2, 1)
    assert "the key belongs to another certificate" in errors[0]
