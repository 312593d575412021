"""A workload that uses the public `spiffe` library and nothing of ours: fetches every kind of SVID from the Workload API at
SPIFFE_ENDPOINT_SOCKET, leaves the X.509 ones in FOLDER, and asks each https address for a page over mutual TLS.

    spiffe-client.py FOLDER [PORT=EXPECTED_SPIFFE_ID ...]     prints one JSON object
"""

import json
import pathlib
import socket
import ssl
import sys

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from spiffe import WorkloadApiClient


def pem(certificates):
    return b"".join(each.public_bytes(serialization.Encoding.PEM) for each in certificates)


def uri_names(der):
    names = x509.load_der_x509_certificate(der).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return names.value.get_values_for_type(x509.UniformResourceIdentifier)


def write_svid(folder, context):
    svid = context.default_svid
    key = svid.private_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    bundle = context.x509_bundle_set.get_bundle_for_trust_domain(svid.spiffe_id.trust_domain)
    (folder / "leaf.pem").write_bytes(pem(svid.cert_chain[:1]))
    (folder / "chain.pem").write_bytes(pem(svid.cert_chain))
    (folder / "key.pem").write_bytes(key)
    (folder / "bundle.pem").write_bytes(pem(bundle.x509_authorities))


def mutual_tls(folder, port, expected):
    """Status line of the page, and who served it; or why there was none."""
    context = ssl.create_default_context(cafile=folder / "bundle.pem")
    context.check_hostname = False
    context.load_cert_chain(folder / "chain.pem", folder / "key.pem")
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
            with context.wrap_socket(plain) as tls:
                peer = uri_names(tls.getpeercert(binary_form=True))
                if peer != [expected]:
                    return {"peer": peer, "problem": "another service"}
                tls.sendall(b"GET / HTTP/1.1\r\nHost: service\r\nConnection: close\r\n\r\n")
                return {"peer": peer, "status": tls.recv(4096).split(b"\r\n")[0].decode()}
    except (OSError, ssl.SSLError) as error:
        return {"problem": type(error).__name__ + ": " + str(error)}


def main():
    folder = pathlib.Path(sys.argv[1])
    with WorkloadApiClient(default_timeout=20) as client:
        context = client.fetch_x509_context()
        write_svid(folder, context)
        bundles = client.fetch_x509_bundles()
        token = client.fetch_jwt_svid(audience={"ledger"})
        validated = client.validate_jwt_svid(token.token, "ledger")
        jwt_bundles = client.fetch_jwt_bundles()
        own = jwt_bundles.get_bundle_for_trust_domain(token.spiffe_id.trust_domain)
        # Its own check of the signature, with the bundle alone.
        from spiffe import JwtSvid

        JwtSvid.parse_and_validate(token.token, own, {"ledger"})
        print(
            json.dumps(
                {
                    "x509": [str(svid.spiffe_id) for svid in context.x509_svids],
                    "x509_bundles": sorted(td.name for td in (b.trust_domain for b in bundles.bundles)),
                    "jwt": str(token.spiffe_id),
                    "validated": str(validated.spiffe_id),
                    "tls": [mutual_tls(folder, int(port), expected) for port, _, expected in (word.partition("=") for word in sys.argv[2:])],
                }
            )
        )


main()
