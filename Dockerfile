# The launcher with its native driver, for Fluid's storage pods: docs/images.md.
#
# Every RUN is in a stage of the machine that builds, so that an image for another processor needs no emulation. An argument replaces
# each base image: by the same with a digest, by a mirror's, or by one made at hand where no registry is in reach.
ARG NODE_IMAGE=docker.io/library/node:24.21.0-trixie-slim
ARG DEBIAN_IMAGE=docker.io/library/debian:trixie-20260918-slim
ARG SYFT_IMAGE=docker.io/anchore/syft:v1.57.0

# Before the first stage with a --platform: buildah 1.28 would go on with that one.
FROM ${NODE_IMAGE} AS node
FROM ${DEBIAN_IMAGE} AS debian

FROM --platform=$BUILDPLATFORM ${NODE_IMAGE} AS program
WORKDIR /build
COPY package.json package-lock.json ./
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY rolldown.config.ts ./
COPY src src
COPY types types
COPY images/third-party-licenses.ts images/
# npm sbom leaves out what is needed by a tool as well; so the tools go, and what is no part of the bundle.
RUN npm run --silent build \
	&& node dist/fluid-fuse.js man > dist/fluid-fuse.1 \
	&& npm pkg delete devDependencies optionalDependencies \
	&& npm prune --ignore-scripts --no-audit --no-fund \
	&& npm sbom --sbom-format cyclonedx > dist/packages.cdx.json \
	&& node images/third-party-licenses.ts > dist/third-party-licenses.txt
COPY LICENSE /opt/fluid-fuse/
COPY bin /opt/fluid-fuse/bin
COPY images/fill-compile-cache examples/minio/config.json /fill/
ARG BUILDARCH
ARG TARGETARCH
RUN mv dist /opt/fluid-fuse/ \
	&& if [ "$BUILDARCH" = "$TARGETARCH" ]; then /fill/fill-compile-cache /fill/config.json; fi

FROM --platform=$BUILDPLATFORM ${DEBIAN_IMAGE} AS packages
ARG TARGETARCH
COPY --from=debian / /debian
COPY images/unpack-packages /
RUN /unpack-packages "$TARGETARCH" /debian /added tini ca-certificates fuse3
# The bundle of certificates, which a script of its package would have made; it is the same for every processor.
RUN apt-get -qq update \
	&& apt-get -qq install --yes --no-install-recommends ca-certificates \
	&& cp -a /etc/ca-certificates.conf /added/etc/ \
	&& mkdir -p /added/etc/ssl /added/usr/local/bin /added/usr/local/share/man/man1 \
	&& cp -a /etc/ssl/certs /added/etc/ssl/ \
	&& ln -s ../../../opt/fluid-fuse/bin/fluid-fuse /added/usr/local/bin/fluid-fuse \
	&& ln -s ../../../../../opt/fluid-fuse/dist/fluid-fuse.1 /added/usr/local/share/man/man1/fluid-fuse.1

FROM debian AS image
COPY --from=packages /added /
COPY --from=node /usr/local/bin/node /usr/local/bin/node
COPY --from=node /usr/local/LICENSE /usr/share/doc/node/copyright
COPY --from=program /opt/fluid-fuse /opt/fluid-fuse

FROM --platform=$BUILDPLATFORM ${SYFT_IMAGE} AS syft
FROM --platform=$BUILDPLATFORM ${DEBIAN_IMAGE} AS sbom
COPY --from=syft /syft /usr/local/bin/
COPY --from=image / /image
ARG VERSION=unknown
COPY images/list-contents /
RUN /list-contents /image fluid-fuse "$VERSION" /sbom/fluid-fuse.cdx.json

FROM image
COPY --from=sbom /sbom /usr/share/sbom
# It starts tini, which reaps what drivers leave behind.
ENTRYPOINT ["fluid-fuse"]
ARG VERSION=unknown
ARG REVISION=unknown
ARG CREATED=unknown
ARG DEBIAN_IMAGE
LABEL org.opencontainers.image.title="fluid-fuse" \
	org.opencontainers.image.description="Mounts buckets as folders inside a storage pod of Fluid" \
	org.opencontainers.image.version="$VERSION" \
	org.opencontainers.image.revision="$REVISION" \
	org.opencontainers.image.created="$CREATED" \
	org.opencontainers.image.licenses="Apache-2.0" \
	org.opencontainers.image.base.name="$DEBIAN_IMAGE"
