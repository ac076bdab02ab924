# The gateway alone: no compiler, no package manager's cache, no secret, no root.
#
#   docker build -t tidegate .
#   docker run --stop-timeout 40 -v ./etc:/etc/tidegate:ro -v tidegate-state:/var/lib/tidegate -p 5432:5432 \
#     -p 8443:8443 tidegate
#
# `serve` is process 1: it hears SIGTERM and takes away zombies, so no --init is needed. A stop waits for sessions
# (limits.shutdown_grace, 10 s) and has 20 s more to conclude those it cuts; Docker by itself would kill it after 10 s.
# In gateway.toml: state_dir = "/var/lib/tidegate", and listeners on 0.0.0.0. Secrets come at run time, as mounted files
# (`file:`) or from the environment (`env:`); the mounted files must be readable by uid 10001.

FROM python:3.13-slim AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY gateway_config gateway_config
COPY proxy proxy
RUN pip wheel --no-cache-dir --wheel-dir /wheels '.[server]'

FROM python:3.13-slim
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin tidegate \
 && install --directory --owner=tidegate --group=tidegate --mode=0700 /var/lib/tidegate
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-index --find-links /wheels 'tidegate[server]'
# Where the health check finds the API, should it listen elsewhere.
ENV PYTHONUNBUFFERED=1 \
    TIDEGATE_HEALTH=https://127.0.0.1:8443/healthz
USER 10001:10001
WORKDIR /var/lib/tidegate
VOLUME /var/lib/tidegate
EXPOSE 5432 8443
STOPSIGNAL SIGTERM
# It asks itself over loopback and sends nothing, so the certificate, which is for other names, is not checked.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import os, ssl, urllib.request as r; r.urlopen(os.environ['TIDEGATE_HEALTH'], timeout=4, context=ssl._create_unverified_context())"]
ENTRYPOINT ["tidegate"]
CMD ["serve", "--config", "/etc/tidegate/gateway.toml"]
