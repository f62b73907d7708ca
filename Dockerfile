# Hasama in a container: for `hasama job`, or for a machine on which nothing is to be installed.
#
#   docker build -t hasama .
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/home/hasama/here" -v hasama-cache:/home/hasama/cache \
#       -w /home/hasama/here hasama \
#       train photos/ --size 64 --out runs/mine
#
# Without an argument torch is what pip's own index has: on Linux with CUDA, some gigabytes; run with --gpus all. The
# selector on pytorch.org names the index of the far smaller build for processors, and those of other CUDAs:
#
#   docker build -t hasama:cpu --build-arg TORCH_INDEX=THE-INDEX-FOR-CPU .
FROM python:3.12.12-slim-bookworm

# Where torch comes from, if not from pip's own index. Its version is that of constraints.txt.
ARG TORCH_INDEX=
# The extras to install, such as video,sweep.
ARG EXTRAS=video,sweep,heif

WORKDIR /opt/hasama
COPY constraints.txt ./
# First and alone, for it is large and seldom changes.
RUN pip install --no-cache-dir ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} --constraint constraints.txt torch
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN pip install --no-cache-dir --constraint constraints.txt ".[$EXTRAS]" \
    && useradd --create-home --uid 1000 hasama \
    && install --directory --mode=1777 /home/hasama/cache /home/hasama/runs

USER hasama
WORKDIR /home/hasama
# Threads that sleep while they wait: on a core that is shared, spinning ones make training three times as slow.
ENV OMP_WAIT_POLICY=passive \
    HASAMA_CACHE=/home/hasama/cache \
    MPLCONFIGDIR=/home/hasama/cache/matplotlib \
    PYTHONUNBUFFERED=1
VOLUME ["/home/hasama/cache", "/home/hasama/runs"]
# In the form that hands signals on: SIGTERM (docker stop) saves the run.
ENTRYPOINT ["hasama"]
CMD ["--help"]
