"""Stores whose connections are encrypted: the URL's options arrive, and connections are kept all the same."""

from __future__ import annotations

import datetime
import ipaddress
import shutil
import ssl
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pymysql
import pytest
import redis
import services
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from sqlalchemy import make_url

from wsgi_sessions import Record, SessionStore, StoreError, clock, store_from_url
from wsgi_sessions.stores.redis import RedisStore
from wsgi_sessions.stores.sql import SQLStore


@pytest.fixture
def certificate(server_directory: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs itself, and its key; whoever runs the server can read both."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate_path, key_path = server_directory / "certificate.pem", server_directory / "key.pem"
    certificate_path.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    key_path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    key_path.chmod(0o600)
    return certificate_path, key_path


def works(store: SessionStore) -> bool:
    record = Record("id", b"payload" * 1000, clock.now() + 60_000, owner="anna")
    store.create(record)
    for _ in range(20):
        record = store.save(record)
        assert store.load("id") == record
    return store.find_by_owner("anna") == [record]


class TestRedis:
    @pytest.fixture
    def port(self, server_directory: Path, certificate: tuple[Path, Path]) -> Iterator[int]:
        port = services.free_port()
        options = (
            "--tls-port",
            str(port),
            "--tls-cert-file",
            str(certificate[0]),
            "--tls-key-file",
            str(certificate[1]),
        )
        with services.Redis(server_directory, *options, "--tls-auth-clients", "no"):
            yield port

    def test_the_options_of_the_url_arrive(self, port: int, certificate: tuple[Path, Path]) -> None:
        with closing(store_from_url(f"rediss://127.0.0.1:{port}?ssl_ca_certs={certificate[0]}")) as store:
            assert works(store)

    def test_a_certificate_that_nobody_vouches_for_is_refused(self, port: int) -> None:
        with closing(store_from_url(f"rediss://127.0.0.1:{port}")) as store, pytest.raises(StoreError):
            store.load("id")

    def test_the_settings_of_a_client_arrive(self, port: int, certificate: tuple[Path, Path]) -> None:
        client = redis.Redis(host="127.0.0.1", port=port, ssl=True, ssl_ca_certs=str(certificate[0]))
        with closing(client), closing(RedisStore(client)) as store:
            assert works(store)


def test_a_client_over_a_socket_file(server_directory: Path) -> None:
    path = server_directory / "redis.sock"
    with services.Redis(server_directory, "--unixsocket", str(path)):
        with redis.Redis(unix_socket_path=str(path)) as client, closing(RedisStore(client)) as store:
            assert works(store)


class TestPostgreSQL:
    @pytest.fixture
    def url(self, server_directory: Path, certificate: tuple[Path, Path]) -> Iterator[str]:
        user = services.postgresql._user()
        if user is not None:
            shutil.chown(certificate[1], user)
        options = ("-c", "ssl=on", "-c", f"ssl_cert_file={certificate[0]}", "-c", f"ssl_key_file={certificate[1]}")
        with services.PostgreSQL(server_directory, *options) as server:
            yield f"{server.url}?sslmode=verify-ca&sslrootcert={certificate[0]}"

    def test_the_options_of_the_url_arrive_and_the_connection_is_kept(self, url: str) -> None:
        """What TLS itself sends is not taken for the end of the connection."""
        with closing(store_from_url(url)) as store:
            assert isinstance(store, SQLStore)
            store.create_schema()
            assert works(store)
            connections = store._used()._connections
            process = {kept.connection.info.backend_pid for kept in connections._idle}
            assert works_again(store)
            assert {kept.connection.info.backend_pid for kept in connections._idle} == process
            assert len(process) == 1
            (kept,) = connections._idle
            assert kept.connection.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone()[0]


def works_again(store: SessionStore) -> bool:
    store.delete("id")
    return works(store)


class TestMariaDB:
    @pytest.fixture
    def url(self, server_directory: Path, certificate: tuple[Path, Path]) -> Iterator[str]:
        certificate[1].chmod(0o644)
        options = (f"--ssl-cert={certificate[0]}", f"--ssl-key={certificate[1]}")
        with services.MariaDB(server_directory, *options) as server:
            yield f"{server.url}?ssl_ca={certificate[0]}"

    def test_the_options_of_the_url_arrive_and_the_connection_is_kept(self, url: str) -> None:
        with closing(store_from_url(url)) as store:
            assert isinstance(store, SQLStore)
            store.create_schema()
            assert works(store)
            connections = store._used()._connections
            threads = {kept.connection.thread_id() for kept in connections._idle}
            assert works_again(store)
            assert {kept.connection.thread_id() for kept in connections._idle} == threads
            assert len(threads) == 1
            (kept,) = connections._idle
            kept.cursor.execute("SHOW STATUS LIKE 'Ssl_cipher'")
            assert kept.cursor.fetchone()[1]

    def test_without_options_the_certificates_of_the_machine_are_read_once_at_most(
        self, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With OpenSSL 3 that takes 30 ms, in which no other thread runs (python/cpython#95031)."""
        bare = url.partition("?")[0]
        SQLStore(bare).create_schema()
        calls = []
        make = ssl.create_default_context

        def counted(*arguments: Any, **options: Any) -> ssl.SSLContext:
            calls.append(options)
            return make(*arguments, **options)

        monkeypatch.setattr(ssl, "create_default_context", counted)
        ciphers = []
        for _ in range(3):
            with closing(store_from_url(bare)) as store:
                assert isinstance(store, SQLStore)
                store.load("id")
                (kept,) = store._used()._connections._idle
                kept.cursor.execute("SHOW STATUS LIKE 'Ssl_cipher'")
                ciphers.append(kept.cursor.fetchone()[1])
        assert len(calls) <= 1
        # As they are without a store: PyMySQL 1.2 encrypts if the server does.
        address = make_url(bare)
        with pymysql.connect(host=address.host, port=address.port or 0, user=address.username) as connection:
            with connection.cursor() as cursor:
                cursor.execute("SHOW STATUS LIKE 'Ssl_cipher'")
                row = cursor.fetchone()
        assert row is not None
        assert {bool(cipher) for cipher in ciphers} == {bool(row[1])}
