# p2p-run on a CPU, as a user without rights.
#   docker build -t p2p-run .
#   docker run --rm --volume "$PWD:/data" --user "$(id -u):$(id -g)" p2p-run seg.mp4
# Tested: each step, one by one, in a fresh Debian 12 made by debootstrap; `hadolint Dockerfile`.
# Not tested: docker itself, and other processors than x86-64.
FROM debian:12-slim AS build
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends python3 python3-venv
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY docs/package_page.py docs/
COPY runtime runtime
COPY train train
COPY export export
COPY benchmarks/p2p_bench benchmarks/p2p_bench
# OpenCV without windows: the other one needs libGL and the libraries of X11.
RUN python3 -m venv /opt/p2p \
    && /opt/p2p/bin/pip install --no-cache-dir ".[cpu]" \
    && /opt/p2p/bin/pip uninstall --yes opencv-python \
    && /opt/p2p/bin/pip install --no-cache-dir "opencv-python-headless>=4.13,<6" \
    && /opt/p2p/bin/p2p-run --doctor

FROM debian:12-slim
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates python3 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 p2p
COPY --from=build /opt/p2p /opt/p2p
ENV PATH=/opt/p2p/bin:$PATH
USER 1000
WORKDIR /data
# The run's main thread writes the file every five seconds; a hang lets it age.
HEALTHCHECK --interval=30s --timeout=5s --start-period=2m \
    CMD ["sh", "-c", "test -n \"$(find /tmp/p2p-status.json -newermt '-30 seconds')\""]
ENTRYPOINT ["p2p-run", "--status-file", "/tmp/p2p-status.json"]
CMD ["--demo", "--output", "null:"]
