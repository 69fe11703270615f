# The image of a binary that was built before, where no registry is at hand:
#
#   deploy/build-static out/meridian && deploy/root-fs out
#   podman build -f deploy/prebuilt.Dockerfile out
#
# From "FROM scratch" on it is the last stage of Dockerfile; a test compares them.
FROM scratch
COPY --chown=0:0 / /
COPY --chown=65532:65532 /data /data
COPY --chown=65532:65532 /certs /certs
ARG VERSION
ARG REVISION
LABEL org.opencontainers.image.title="Meridian" \
      org.opencontainers.image.description="A multi-leader, geo-replicated JSON document store" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.documentation="deploy/README.md" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
ENV MERIDIAN_DATA=/data \
    MERIDIAN_TLS_DIR=/certs \
    MERIDIAN_HTTP=0.0.0.0:8080 \
    MERIDIAN_PEER_LISTEN=0.0.0.0:7400
USER 65532:65532
EXPOSE 8080/tcp 7400/udp
VOLUME ["/data"]
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["/meridian", "status", "--probe", "ready"]
ENTRYPOINT ["/meridian"]
CMD ["serve"]
