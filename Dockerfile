# Two stages: the first builds a virtual environment, the second is Python, that environment and nothing else.
#
#   docker build -t spacelane .
#   docker run -p 8080:8080 -v spacelane:/data spacelane

FROM python:3.11-slim AS build
WORKDIR /src
COPY constraints.txt ./
RUN python -m venv /build && /build/bin/pip install --no-cache-dir -c constraints.txt hatchling
COPY pyproject.toml README.md LICENSE ./
COPY server server
COPY storage storage
RUN /build/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels . \
 && python -m venv /opt/spacelane \
 && /opt/spacelane/bin/pip install --no-cache-dir -c constraints.txt /wheels/*.whl \
 && /opt/spacelane/bin/pip uninstall --yes setuptools pip

FROM python:3.11-slim
RUN useradd --system --uid 10001 --home-dir /data spacelane \
 && install --directory --owner spacelane --mode 700 /data
COPY --from=build /opt/spacelane /opt/spacelane

# Visitors come from outside. The control API stays inside: `docker exec` reaches it, with the key found by itself
# (docker exec CONTAINER spacelane deploy …). To reach it from outside, with TLS and a firewall of your own in front:
# -e SPACELANE_CONTROL=0.0.0.0:8081 -p 127.0.0.1:8081:8081
ENV PATH=/opt/spacelane/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    SPACELANE_DATA_DIR=/data \
    SPACELANE_EDGE=0.0.0.0:8080
USER spacelane
WORKDIR /data
VOLUME /data
EXPOSE 8080 8081
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s CMD ["python", "-c", "import os, urllib.request as r; port = os.environ.get('SPACELANE_CONTROL', ':8081').rpartition(':')[2]; r.urlopen(f'http://127.0.0.1:{port}/healthz', timeout=4)"]
ENTRYPOINT ["spacelane"]
CMD ["serve"]
