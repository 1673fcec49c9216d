#!/bin/sh
# Makes the certificates of the TLS tests anew: an authority, a server for localhost, and a client,
# and the same of another authority. They are worth nothing outside these tests.
set -eu
cd "$(dirname "$0")"
days=36500
make_key() { openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt -out "$1.key"; }
sign() {
    openssl req -new -key "$1.key" -subj "/CN=$2" -addext "$3" -addext "extendedKeyUsage=$4" |
        openssl x509 -req -CA "${other}ca.pem" -CAkey "${other}ca.key" -days $days -copy_extensions copy -out "$1.pem" 2>/dev/null
}
for other in "" other-; do
    for name in ca server client; do make_key "$other$name"; done
    openssl req -x509 -new -key "${other}ca.key" -days $days -subj "/CN=Keyway ${other}test authority" \
        -addext "basicConstraints=critical,CA:TRUE" -addext "keyUsage=critical,keyCertSign" -out "${other}ca.pem"
    sign "${other}server" localhost "subjectAltName=DNS:localhost,IP:127.0.0.1" serverAuth
    sign "${other}client" keyway "subjectAltName=DNS:keyway" clientAuth
    rm "${other}ca.key" "${other}ca.srl" 2>/dev/null || true
done
