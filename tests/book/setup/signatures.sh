# Before docs/signatures.md: keys, with openssl as the service that has them

# shellcheck shell=bash
make_key vendor
make_key site
mv vendor.key key.pem
mv vendor.crt cert.pem
mv site.key site.pem
write tree/etc/app/app.conf 'answer = 42'
