# What the set-ups of pages are made of; put before each

# shellcheck shell=bash
make_key() { # NAME
    openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj "/CN=$1" -keyout "$1.key" -out "$1.crt" 2>/dev/null
}

write() { # FILE TEXT
    mkdir -p "$(dirname "$1")"
    printf '%s\n' "$2" >"$1"
}

make_image() { # IMAGE DIRECTORY [NAME]: signed by the vendor
    confext --quiet build --class confext --name "${3-app}" --release ID=_any --source-date-epoch 1764201600 --owner 0:0 \
        --source "$2" --output "$1" --key vendor.key --certificate vendor.crt
}

# A root directory with nothing but what extensions are compared with.
make_host() {
    write host/etc/os-release $'ID=debian\nVERSION_ID=13'
    write host/etc/motd 'of the host'
}

make_host_with_app() {
    make_host
    write 1/etc/app.conf 'answer = 42'
    mkdir -p host/run/confexts
    make_image host/run/confexts/app.raw 1
}
