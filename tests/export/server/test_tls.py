"""Encrypted ports, clients without a certificate, and files that cannot be used."""

from __future__ import annotations

import contextlib
import http.client
import shutil
import ssl
import subprocess

import grpc
import pytest

from cml_tf.errors import UserError
from export.client import ClientError, FewShotClient, RequestError, Settings
from export.rollout.errors import RolloutError
from export.rollout.running_server import AVAILABLE, RunningServer
from export.server.tls import Tls, TlsError, from_config, from_files
from tests.export.server.running import running
from tests.export.server.tiny_models import write_halver

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl, which makes certificates, is missing")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """ca.pem; server.pem and client.pem signed by it; stranger.pem by nobody; each with its .key."""
    directory = tmp_path_factory.mktemp("certificates")

    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True)

    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    for name in ("ca", "stranger"):
        files = ("-keyout", f"{name}.key", "-out", f"{name}.pem", "-days", "2")
        openssl("req", "-x509", *curve, *files, "-subj", f"/CN={name}")
    (directory / "names").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
    authority = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial")
    for name in ("server", "client"):
        openssl("req", *curve, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        signed = ("-out", f"{name}.pem", "-days", "2", "-extfile", "names")
        openssl("x509", "-req", "-in", f"{name}.csr", *authority, *signed)
    openssl("pkey", "-in", "server.key", "-aes256", "-passout", "pass:secret", "-out", "locked.key")
    return directory


@pytest.fixture(scope="module")
def halver(tmp_path_factory):
    directory = tmp_path_factory.mktemp("encrypted") / "halver"
    directory.mkdir()
    write_halver(directory / "1", 1.0)
    return directory


def _over_grpc(server, root, *known):
    """Whether the version answers to a client with these certificates."""
    remote = RunningServer(server.grpc_address, grpc.ssl_channel_credentials(root, *known))
    with contextlib.closing(remote):
        return remote.versions("halver")[1].state == AVAILABLE


def _over_rest(server, context):
    connection = http.client.HTTPSConnection("127.0.0.1", server.rest_port, timeout=30, context=context)
    with contextlib.closing(connection):
        connection.request("GET", "/v1/models/halver")
        return connection.getresponse().status


def _roots(certificates):
    """Of the authority and of a stranger, for gRPC and for REST."""
    files = [certificates / f"{name}.pem" for name in ("ca", "stranger")]
    return *(file.read_bytes() for file in files), *(ssl.create_default_context(cafile=file) for file in files)


@pytest.mark.slow
def test_both_ports_are_encrypted_and_plain_text_gets_no_answer(certificates, halver, tmp_path):
    flags = [f"--tls_certificate={certificates / 'server.pem'}", f"--tls_key={certificates / 'server.key'}"]
    root, other, context, another = _roots(certificates)
    with running(f"--model_dir={halver}", *flags, log=tmp_path / "log") as server:
        assert _over_grpc(server, root) and _over_rest(server, context) == 200
        with pytest.raises(ssl.SSLCertVerificationError):
            _over_rest(server, another)
        with pytest.raises(RolloutError, match="UNAVAILABLE"):
            _over_grpc(server, other)
        with pytest.raises((http.client.HTTPException, OSError)):
            server.rest("GET", "/v1/models/halver")


def test_only_clients_that_the_authority_signed_are_let_in(certificates, halver, tmp_path):
    config = tmp_path / "ssl.config"
    config.write_text(_ssl_config(certificates, "server_key", "server_cert", "custom_ca") + "client_verify: true\n")
    root, other, context, _ = _roots(certificates)
    key, certificate = (certificates / f"client.{ending}" for ending in ("key", "pem"))
    known = key.read_bytes(), certificate.read_bytes()
    with running(f"--model_dir={halver}", f"--ssl_config_file={config}", log=tmp_path / "log") as server:
        assert _over_grpc(server, root, *known)
        for given in ((root,), (other, *known)):
            with pytest.raises(RolloutError, match="UNAVAILABLE"):
                _over_grpc(server, *given)
        with pytest.raises((http.client.HTTPException, OSError)):
            server.rest("GET", "/v1/models/halver")
        with pytest.raises((ssl.SSLError, http.client.HTTPException, OSError)):
            _over_rest(server, context)
        context.load_cert_chain(certificate, key)
        assert _over_rest(server, context) == 200
        for address in (f"grpcs://{server.grpc_address}", f"https://127.0.0.1:{server.rest_port}"):
            unknown = Settings(attempts=1, ca_certificate=certificates / "ca.pem")
            with FewShotClient(address, "halver", unknown) as client, pytest.raises(RequestError) as error:
                client.interface()
            assert error.value.code == "UNAVAILABLE"
            let_in = Settings(attempts=1, ca_certificate=certificates / "ca.pem", certificate=certificate, key=key)
            # It got through: what it then says is that this is no export.
            with (
                FewShotClient(address, "halver", let_in) as client,
                pytest.raises(ClientError, match="signatures .*both"),
            ):
                client.interface()


def _ssl_config(certificates, *fields):
    files = {"server_key": "server.key", "server_cert": "server.pem", "custom_ca": "ca.pem"}
    lines = {field: (certificates / files[field]).read_text().splitlines() for field in fields}
    return "".join(f"{field}: " + "\n".join(f'"{line}\\n"' for line in lines[field]) + "\n" for field in fields)


def test_what_a_config_gives(certificates, tmp_path):
    config = tmp_path / "ssl.config"
    for text, message in (
        (_ssl_config(certificates, "server_key", "server_cert") + "client_verify: true\n", "must contain custom_ca"),
        ("certificate: 'x'\n", "SSLConfig in text form"),
    ):
        config.write_text(text)
        with pytest.raises(TlsError, match=message):
            from_config(config)
    # An authority is of no use while clients are not verified.
    config.write_text(_ssl_config(certificates, "server_key", "server_cert", "custom_ca"))
    certificate, key = ((certificates / f"server.{ending}").read_bytes() for ending in ("pem", "key"))
    assert from_config(config) == Tls(certificate, key, None)


@pytest.mark.parametrize(
    ("certificate", "key", "client_ca", "message"),
    [
        ("none.pem", "server.key", None, "none.pem cannot be read: No such file"),
        ("server.pem", "client.key", None, "the key belongs to another certificate"),
        ("server.key", "server.key", None, "must be PEM files that belong together"),
        ("server.pem", "names", None, "must be PEM files that belong together"),
        ("server.pem", "locked.key", None, "has a passphrase"),
        ("server.pem", "server.key", "names", "must be a PEM certificate"),
    ],
)
def test_files_that_cannot_be_used(certificates, certificate, key, client_ca, message):
    with pytest.raises(TlsError, match=message):
        from_files(certificates / certificate, certificates / key, client_ca and certificates / client_ca)
    assert issubclass(TlsError, UserError)
