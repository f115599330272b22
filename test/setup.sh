#!/usr/bin/env bash
# Installs what is run: `setup.sh demo` what the demo needs, `setup.sh test` what the tests of every change do, `setup.sh full` all of
# test:full, `setup.sh servers` what the tests of every change do and the S3 servers of test:servers (many minutes the first time):
# npm's packages, Debian's, and programs built from their Go modules.
# Takes minutes on a fresh Debian 12, and no time, network or Go when everything is there already.
set -euo pipefail
cd "$(dirname "$0")/.."

purpose=${1:-full}
case $purpose in demo | test | full | servers) ;; *) echo "usage: setup.sh [demo|test|full|servers]" >&2; exit 64 ;; esac

# Changing a pin rebuilds that binary.
minio_version=v0.0.0-20250907161309-07c3a429bfed # RELEASE.2025-09-07T16-13-09Z

# goofys 0.24.0, the last release, is older than Go modules: its go.mod stands in for its git submodules of April 2020.
# It is built on the libraries of its time, as in Dockerfile.goofys, so that the tests meet the goofys that users run.
goofys_module=$(cat images/goofys/go.mod images/goofys/go.sum)
# Lists what is in an image, as in the Dockerfiles.
syft_version=$(sed -n 's/^ARG SYFT_IMAGE=.*:\(v[0-9.]*\)$/\1/p' Dockerfile)

# S3 servers of others.
versitygw_version=v1.8.0
rclone_version=v1.76.0
seaweedfs_version=v0.0.0-20261109003541-7506e5f91cd6 # it has no versions as a Go module
moto_version=5.2.5
s3proxy_version=4.1.0
s3mock_version=5.2.0

cache=${XDG_CACHE_HOME:-$HOME/.cache}/fluid-fuse
bin=$cache/bin

say() { echo "setup: $*"; }
fail() {
	echo "setup: $*" >&2
	exit 1
}

# Runs a command quietly; its last lines are shown only if it fails. Descriptor 9 is the lock: a daemon that a
# package starts must not inherit it.
quietly() { "$@" >"$build/log" 2>&1 </dev/null 9>&- || { tail -n 20 "$build/log" >&2; return 1; }; }

# The tests want programs, which they start themselves: a machine on which nobody wanted logins gets no server for them, now or after a
# boot, and none of what comes with Ceph and Swift.
mask() {
	[[ -d /etc/systemd/system ]] || return 0
	local unit
	for unit; do
		[[ -e /etc/systemd/system/$unit ]] || ln -sf /dev/null "/etc/systemd/system/$unit"
	done
}

install_packages() {
	local missing=() entry packages as_root=()
	# command:package
	local wanted=(s3fs:s3fs sshfs:sshfs python3:python3 setfattr:attr fusermount3:fuse3 fusermount:fuse3 tini:tini rclone:rclone
		chromium:chromium pgrep:procps openssl:openssl fio:fio rsync:rsync git:git sqlite3:sqlite3 faketime:faketime)
	[[ $purpose != full ]] || wanted+=(buildah:buildah podman:podman runc:runc debootstrap:debootstrap zsh:zsh fish:fish groff:groff-base)
	[[ $purpose != full && $purpose != servers ]] || wanted+=(radosgw:radosgw ceph-mon:ceph-mon ceph-osd:ceph-osd)
	[[ $purpose != servers ]] || wanted+=(swift-proxy-server:swift-proxy swift-account-server:swift-account
		swift-container-server:swift-container swift-object-server:swift-object)
	for entry in "${wanted[@]}"; do
		command -v "${entry%:*}" >/dev/null || missing+=("${entry#*:}")
	done
	# Debian keeps this apart from its Python.
	[[ $purpose != servers ]] || python3 -c "import ensurepip" 2>/dev/null || missing+=(python3-venv)
	[[ $purpose != servers ]] || command -v java >/dev/null || missing+=(default-jre-headless)
	[[ $purpose != servers ]] || command -v mvn >/dev/null || missing+=(maven)
	# Not on the PATH of everybody.
	[[ -x /usr/sbin/sshd ]] || missing+=(openssh-server)
	((${#missing[@]})) || return 0
	mapfile -t packages < <(printf '%s\n' "${missing[@]}" | sort -u)

	command -v apt-get >/dev/null || fail "no apt-get here: install ${packages[*]} by hand, then run this again"
	if ((EUID)); then
		command -v sudo >/dev/null || fail "not root and no sudo: run 'apt-get install ${packages[*]}' as root, then this again"
		as_root=(sudo)
	fi
	say "installing ${packages[*]}"
	local units=()
	[[ " ${packages[*]} " != *" openssh-server "* ]] || units+=(ssh.service ssh.socket)
	[[ " ${packages[*]} " != *" ceph-osd "* ]] || units+=(ceph-crash.service smartmontools.service)
	[[ " ${packages[*]} " != *" swift-proxy "* ]] || units+=(swift-proxy.service
		swift-{account,container,object}{,-auditor,-replicator}.service swift-account-reaper.service
		swift-container-{reconciler,sharder,sync,updater}.service swift-object-{reconstructor,updater}.service)
	((!${#units[@]})) || "${as_root[@]}" bash -c "$(declare -f mask); mask ${units[*]}"
	local apt_get=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -qq)
	quietly "${apt_get[@]}" update ||
		fail "apt-get update failed: check the network and the apt sources, then run this again"
	quietly "${apt_get[@]}" install --yes --no-install-recommends "${packages[@]}" ||
		fail "apt-get could not install ${packages[*]}: see above, then run this again"
}

# npm's own record of what it installed is written last.
install_npm_packages() {
	if [[ ! node_modules/.package-lock.json -nt package-lock.json ]]; then
		say "installing npm packages"
		quietly npm ci --no-audit --no-fund || fail "npm ci failed: see above; check the network, then run this again"
	fi
	local found
	found=$(node_modules/.bin/node --version 2>/dev/null) || found=none
	[[ $found == v2[4-9].* || $found == v[3-9][0-9].* ]] ||
		fail "Node 24 is needed, npm installed ${found}: run 'npm ci' without --ignore-scripts, then this again"
}

require_go() {
	local found
	found=$(go env GOVERSION 2>/dev/null) || fail "no Go here: install Go 1.24 or later, then run this again"
	# 1.21 is the first that fetches the newer toolchain which a module asks for.
	[[ $(printf '%s\n' go1.21 "$found" | sort -V | head -n 1) == go1.21 ]] ||
		fail "$found is too old: install Go 1.24 or later, then run this again"
}

# Prometheus and its checker of rules, as programs alone: Debian's package would start a server.
install_prometheus() {
	[[ -x $bin/promtool && -x $bin/prometheus ]] && return
	command -v apt-get >/dev/null || fail "no apt-get here: put prometheus and its promtool into $bin, then run this again"
	say "getting prometheus"
	local as_root=()
	((EUID)) && as_root=(sudo)
	quietly download_prometheus || {
		quietly "${as_root[@]}" apt-get -o DPkg::Lock::Timeout=300 -qq update && quietly download_prometheus
	} || fail "could not get prometheus: see above; check the network and the apt sources, then run this again"
	mv "$build/promtool" "$build/prometheus" "$bin/"
}

download_prometheus() (
	# Joined, because errexit does not count where the caller looks at the outcome. Apt's own user may not write in the folder.
	cd "$build" && apt-get -qq -o APT::Sandbox::User= download prometheus &&
		dpkg-deb --fsys-tarfile prometheus_*.deb | tar --extract --strip-components=3 ./usr/bin/promtool ./usr/bin/prometheus &&
		./promtool --version && ./prometheus --version
)

# install_binary NAME STAMP COMMAND...: has COMMAND leave NAME in the build folder, unless STAMP says it was done.
install_binary() {
	local name=$1 stamp=$2 started=$SECONDS
	shift 2
	[[ -x $bin/$name && -f $bin/$name.version && $(<"$bin/$name.version") == "$stamp" ]] && return
	require_go
	say "building $name (minutes, the first time)"
	quietly "$@" || fail "could not build $name: see above; without network it cannot be built, else run this again"
	# The stamp goes first and comes back last: whenever this is interrupted, it never vouches for another binary.
	rm -f "$bin/$name.version"
	mv "$build/$name" "$bin/$name"
	echo "$stamp" >"$build/$name.version"
	mv "$build/$name.version" "$bin/$name.version"
	say "built $name in $((SECONDS - started)) s"
}

build_minio() {
	GOBIN=$build go install -trimpath -ldflags "-s -w" "github.com/minio/minio@$minio_version"
}

build_goofys() {
	cp -r images/goofys "$build/goofys"
	go -C "$build/goofys" build -mod=readonly -trimpath -ldflags "-s -w" -o "$build/goofys-0.24" github.com/kahing/goofys
}

build_syft() {
	GOBIN=$build go install -trimpath -ldflags "-s -w" "github.com/anchore/syft/cmd/syft@$syft_version"
}

build_versitygw() {
	GOBIN=$build go install -trimpath -ldflags "-s -w" "github.com/versity/versitygw/cmd/versitygw@$versitygw_version"
}

# Debian's rclone is older than its command `serve s3`.
build_rclone_s3() {
	GOBIN=$build go install -trimpath -ldflags "-s -w" "github.com/rclone/rclone@$rclone_version" && mv "$build/rclone" "$build/rclone-s3"
}

# Its go.mod replaces modules, with which it can only be built in its own folder.
build_weed() {
	local folder
	folder=$(go mod download -json "github.com/seaweedfs/seaweedfs@$seaweedfs_version" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p') &&
		cp -r "$folder" "$build/seaweedfs" && chmod -R u+w "$build/seaweedfs" &&
		go -C "$build/seaweedfs" build -trimpath -ldflags "-s -w" -o "$build/weed" ./weed
}

# A Python environment cannot be moved: it is made where it stays, and its stamp is written last.
install_moto() {
	[[ -f $cache/moto/version && $(<"$cache/moto/version") == "$moto_version" ]] && return
	say "installing moto"
	rm -rf "$cache/moto"
	{ quietly python3 -m venv "$cache/moto" && quietly "$cache/moto/bin/pip" install "moto[s3,server]==$moto_version"; } ||
		fail "could not install moto: see above; check the network, then run this again"
	echo "$moto_version" >"$cache/moto/version"
}

# Its own jar is without the libraries that it needs, and of what they want of Jackson's annotations Maven takes a version that is too old.
install_s3proxy() {
	local folder=$cache/s3proxy
	[[ -f $folder/s3proxy.version && $(<"$folder/s3proxy.version") == "$s3proxy_version" ]] && return
	say "getting s3proxy"
	rm -rf "$folder"
	cat >"$build/pom.xml" <<-POM
		<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
		<groupId>servers</groupId><artifactId>servers</artifactId><version>1</version><dependencies>
		<dependency><groupId>com.fasterxml.jackson.core</groupId><artifactId>jackson-annotations</artifactId><version>2.21</version></dependency>
		<dependency><groupId>org.gaul</groupId><artifactId>s3proxy</artifactId><version>$s3proxy_version</version></dependency>
		</dependencies></project>
	POM
	quietly mvn -B -ntp -f "$build/pom.xml" dependency:copy-dependencies -DincludeScope=runtime "-DoutputDirectory=$folder" ||
		fail "could not get s3proxy: see above; check the network, then run this again"
	echo "$s3proxy_version" >"$folder/s3proxy.version"
}

install_s3mock() {
	[[ -f $bin/s3mock.jar && -f $bin/s3mock.jar.version && $(<"$bin/s3mock.jar.version") == "$s3mock_version" ]] && return
	say "getting S3Mock"
	quietly mvn -B -ntp dependency:copy "-Dartifact=com.adobe.testing:s3mock:$s3mock_version:jar:exec" "-DoutputDirectory=$build" ||
		fail "could not get S3Mock: see above; check the network, then run this again"
	mv "$build/s3mock-$s3mock_version-exec.jar" "$bin/s3mock.jar"
	echo "$s3mock_version" >"$bin/s3mock.jar.version"
}

# Static, and independent of a go.work in a folder above.
export CGO_ENABLED=0 GOWORK=off

mkdir -p "$bin"
exec 9>"$cache/lock"
flock --nonblock 9 || {
	say "waiting for another run to finish"
	flock 9
}
rm -rf "$cache"/build.* # what an interrupted run left
build=$(mktemp -d "$cache/build.XXXXXX") # beside bin, so that mv between them is atomic
trap 'rm -rf "$build"' EXIT

install_npm_packages
[[ $purpose == demo ]] || install_packages
# Of the real servers the one that is built soonest.
[[ $purpose == test ]] || install_binary versitygw "$versitygw_version" build_versitygw
if [[ $purpose != demo ]]; then
	install_binary minio "$minio_version" build_minio
	install_binary goofys-0.24 "$goofys_module" build_goofys
	# The newest commit, 350ff312abaa of 2023, is not to be had as a Go module, so goofys is the release too.
	[[ -e $bin/goofys ]] || ln -sfn goofys-0.24 "$bin/goofys"
	install_prometheus
fi
[[ $purpose != full ]] || install_binary syft "$syft_version" build_syft
if [[ $purpose == servers ]]; then
	install_binary rclone-s3 "$rclone_version" build_rclone_s3
	install_binary weed "$seaweedfs_version" build_weed
	install_moto
	install_s3proxy
	install_s3mock
fi

# Its first command would build it otherwise, and print that in the middle of the story.
[[ $purpose != demo || -f dist/fluid-fuse.js ]] || quietly npm run --silent build || fail "could not build the launcher: see above"

say "everything is there; binaries in $bin"
