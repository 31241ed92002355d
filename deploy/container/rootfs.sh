#!/bin/sh
# Lays out the container's file system: the program, the libraries it is linked to, the certificates of the public
# authorities, its configuration. Usage: rootfs.sh PROGRAM FOLDER, from the repository's root.
set -eu
program=$1 root=$2
mkdir -p "$root/usr/bin" "$root/etc/ssl/certs" "$root/etc/wsp" "$root/var/lib/wsp" "$root/tmp"
cp "$program" "$root/usr/bin/wsp"
# The loader and libraries stand where the program looks for them.
ldd "$program" | grep -o '/[^ ]*' | while read -r library; do
    mkdir -p "$root$(dirname "$library")"
    cp -L "$library" "$root$library"
done
# Names are resolved by libraries that the C library loads by itself.
for library in /lib/*/libnss_dns.so.2 /lib/*/libnss_files.so.2 /lib/*/libresolv.so.2; do
    [ -e "$library" ] || continue
    mkdir -p "$root$(dirname "$library")"
    cp -L "$library" "$root$library"
done
cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
cp -R config/. "$root/etc/wsp/"
mkdir -p "$root/usr/share/doc/wsp"
cp LICENSE-MIT LICENSE-APACHE "$root/usr/share/doc/wsp/"
echo 'wsp:x:65532:65532:wsp:/var/lib/wsp:/sbin/nologin' > "$root/etc/passwd"
echo 'wsp:x:65532:' > "$root/etc/group"
printf 'hosts: files dns\n' > "$root/etc/nsswitch.conf"
chown 65532:65532 "$root/var/lib/wsp"
chmod 1777 "$root/tmp"
