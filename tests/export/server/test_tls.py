"""Encrypted ports, clients without a certificate, and files that cannot be used."""

import contextlib
import http.client
import shutil
import ssl
import subprocess

import grpc
import pytest

from export.client import ClientError, FewShotClient, RequestError, Settings
from export.rollout.errors import RolloutError
from export.rollout.running_server import AVAILABLE, RunningServer
from export.server.tls import Tls, TlsError, from_config, from_files
from tests.export.server.running import running
from tests.export.server.tiny_models import write_halver

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl, which makes certificates, is missing")


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """ca.pem; server.pem and client.pem signed by it; stranger.pem by nobody; each with its .key; and a model."""
    directory = tmp_path_factory.mktemp("certificates")

    def openssl(words):
        subprocess.run(["openssl", *words.split()], cwd=directory, check=True, capture_output=True)

    curve = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
    for name in ("ca", "stranger"):
        openssl(f"req -x509 {curve} -keyout {name}.key -out {name}.pem -days 2 -subj /CN={name}")
    (directory / "names").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
    for name in ("server", "client"):
        openssl(f"req {curve} -keyout {name}.key -out {name}.csr -subj /CN={name}")
        authority = "-CA ca.pem -CAkey ca.key -CAcreateserial"
        openssl(f"x509 -req -in {name}.csr {authority} -out {name}.pem -days 2 -extfile names")
    openssl("pkey -in server.key -aes256 -passout pass:secret -out locked.key")
    write_halver(directory / "halver" / "1", 1.0)
    return directory


@pytest.fixture(scope="module")
def roots(directory):
    """Of the authority and of a stranger, for gRPC and for REST."""
    files = [directory / f"{name}.pem" for name in ("ca", "stranger")]
    return *(file.read_bytes() for file in files), *(ssl.create_default_context(cafile=file) for file in files)


def _over_grpc(server, root, *known):
    """Whether the version answers to a client with these certificates."""
    with contextlib.closing(RunningServer(server.grpc_address, grpc.ssl_channel_credentials(root, *known))) as remote:
        return remote.versions("halver")[1].state == AVAILABLE


def _over_rest(server, context):
    connection = http.client.HTTPSConnection("127.0.0.1", server.rest_port, timeout=30, context=context)
    with contextlib.closing(connection):
        connection.request("GET", "/v1/models/halver")
        return connection.getresponse().status


def _check_strangers(server, *given):
    """Clients that trust another authority or give no certificate get no answer, plain text neither."""
    for credentials in given:
        with pytest.raises(RolloutError, match="UNAVAILABLE"):
            _over_grpc(server, *credentials)
    with pytest.raises((http.client.HTTPException, OSError)):
        server.rest("GET", "/v1/models/halver")


@pytest.mark.slow
def test_both_ports_are_encrypted_and_plain_text_gets_no_answer(directory, roots, tmp_path):
    flags = [f"--tls_certificate={directory / 'server.pem'}", f"--tls_key={directory / 'server.key'}"]
    root, other, context, another = roots
    with running(f"--model_dir={directory / 'halver'}", *flags, log=tmp_path / "log") as server:
        assert _over_grpc(server, root) and _over_rest(server, context) == 200
        with pytest.raises(ssl.SSLCertVerificationError):
            _over_rest(server, another)
        _check_strangers(server, (other,))


def _ssl_config(directory, *fields, more=""):
    files = {"server_key": "server.key", "server_cert": "server.pem", "custom_ca": "ca.pem"}
    lines = {field: (directory / files[field]).read_text().splitlines() for field in fields}
    return "".join(f"{field}: " + "\n".join(f'"{line}\\n"' for line in lines[field]) + "\n" for field in fields) + more


_ALL = ("server_key", "server_cert", "custom_ca")


def test_only_clients_that_the_authority_signed_are_let_in(directory, roots, tmp_path):
    config = tmp_path / "ssl.config"
    config.write_text(_ssl_config(directory, *_ALL, more="client_verify: true\n"))
    root, other, _, _ = roots
    context = ssl.create_default_context(cafile=directory / "ca.pem")
    key, certificate, authority = (directory / name for name in ("client.key", "client.pem", "ca.pem"))
    known = key.read_bytes(), certificate.read_bytes()
    with running(f"--model_dir={directory / 'halver'}", f"--ssl_config_file={config}", log=tmp_path / "log") as server:
        assert _over_grpc(server, root, *known)
        _check_strangers(server, (root,), (other, *known))
        with pytest.raises((ssl.SSLError, http.client.HTTPException, OSError)):
            _over_rest(server, context)
        context.load_cert_chain(certificate, key)
        assert _over_rest(server, context) == 200
        for address in (f"grpcs://{server.grpc_address}", f"https://{server.rest_address}"):
            unknown = Settings(attempts=1, ca_certificate=authority)
            with FewShotClient(address, "halver", unknown) as client, pytest.raises(RequestError) as error:
                client.interface()
            assert error.value.code == "UNAVAILABLE"
            let_in = Settings(attempts=1, ca_certificate=authority, certificate=certificate, key=key)
            # It got through: what it then says is that this is no export.
            with FewShotClient(address, "halver", let_in) as client, pytest.raises(ClientError, match="both"):
                client.interface()


def test_what_a_config_gives(directory, tmp_path):
    config = tmp_path / "ssl.config"
    lacking = _ssl_config(directory, *_ALL[:2], more="client_verify: true\n")
    for text, message in ((lacking, "custom_ca"), ("certificate: 'x'\n", "SSLConfig")):
        config.write_text(text)
        with pytest.raises(TlsError, match=message):
            from_config(config)
    # An authority is of no use while clients are not verified.
    config.write_text(_ssl_config(directory, *_ALL))
    certificate, key = ((directory / f"server.{ending}").read_bytes() for ending in ("pem", "key"))
    assert from_config(config) == Tls(certificate, key, None)


@pytest.mark.parametrize(
    ("certificate", "key", "client_ca", "message"),
    [
        ("none.pem", "server.key", None, "none.pem"),
        ("server.pem", "client.key", None, "another certificate"),
        ("server.pem", "names", None, "PEM"),
        ("server.pem", "locked.key", None, "passphrase"),
        ("server.pem", "server.key", "names", "authority"),
    ],
)
def test_files_that_cannot_be_used(directory, certificate, key, client_ca, message):
    with pytest.raises(TlsError, match=message):
        from_files(directory / certificate, directory / key, client_ca and directory / client_ca)
