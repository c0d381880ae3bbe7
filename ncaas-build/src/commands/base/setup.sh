# Run by the image's own /bin/sh while the base image is built. Distributions differ in the tools that make users, and
# minimal images have none: the lines are written into the files themselves, with nothing but the shell.
set -eu
name=neurocaasdev
id=1000
home=/home/$name

if ! command -v bash >/dev/null 2>&1; then
    if command -v apt-get >/dev/null 2>&1; then
        apt-get update && apt-get install --yes --no-install-recommends bash && rm -rf /var/lib/apt/lists/*
    elif command -v dnf >/dev/null 2>&1; then
        dnf install --assumeyes bash && dnf clean all
    elif command -v microdnf >/dev/null 2>&1; then
        microdnf install --assumeyes bash && microdnf clean all
    elif command -v yum >/dev/null 2>&1; then
        yum install --assumeyes bash && yum clean all
    elif command -v apk >/dev/null 2>&1; then
        apk add --no-cache bash
    else
        echo "there is no bash in this image, and no package manager that could install it" >&2
        exit 1
    fi
fi

# Ubuntu's images have a user 1000 of their own, others may have the name: whoever has either makes room. The line may
# also be there already.
with_line() {
    lines= had=no
    while IFS= read -r line || [ -n "$line" ]; do
        rest=${line#*:*:}
        if [ "$line" = "$2" ]; then had=yes; fi
        if [ "${line%%:*}" != "$name" ] && [ "${rest%%:*}" != "$id" ]; then
            lines="$lines$line
"
        fi
    done <"$1"
    printf '%s%s\n' "$lines" "$2" >"$1"
}
[ -e /etc/passwd ] || echo root:x:0:0:root:/root:/bin/sh >/etc/passwd
[ -e /etc/group ] || echo root:x:0: >/etc/group
shell=$(command -v bash)
if [ -x /bin/bash ]; then shell=/bin/bash; fi
with_line /etc/passwd "$name:x:$id:$id::$home:$shell"
ours=$had
with_line /etc/group "$name:x:$id:"
if [ -e /etc/shadow ]; then with_line /etc/shadow "$name:!:19000:0:99999:7:::"; fi
if [ -e /etc/gshadow ]; then with_line /etc/gshadow "$name:!::"; fi

# An existing home keeps its content.
case $(ls -ld "$home" 2>/dev/null) in
    d???????w*) ;;
    *) ours=no ;;
esac
if [ ! -d "$home" ]; then
    mkdir -p "$home"
    if [ -d /etc/skel ]; then cp -R /etc/skel/. "$home/"; fi
fi
for folder in "$home/io-dir" "$home/io-dir/inputs" "$home/io-dir/configs" "$home/io-dir/results" "$home/io-dir/logs"; do
    mkdir -p "$folder"
    chown "$id:$id" "$folder"
    chmod a+rwX "$folder"
done
# A job may run under the uid of whoever started it, so that its files are theirs: any uid can write to the home. In an
# image made of one of ours it is so already, and a file that is touched is in the new layer once more.
if [ "$ours" = no ]; then
    chown -R "$id:$id" "$home"
    chmod -R a+rwX "$home"
fi
