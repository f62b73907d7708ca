# Hasama in a container: for `hasama job`, or for a machine on which nothing is to be installed.
#
#   docker build -t hasama .
#   docker run --rm -v "$PWD:/home/hasama/here" -v hasama-cache:/home/hasama/cache -w /home/hasama/here hasama \
#       train photos/ --size 64 --out runs/mine
#
# For NVIDIA GPUs choose the wheels of your driver's CUDA by the selector on pytorch.org, and run with --gpus all:
#
#   docker build -t hasama:cuda --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu126 .
FROM python:3.12.12-slim-bookworm

# Where torch comes from: the CPU build unless another index is named. Its version is that of constraints.txt.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
# The extras to install, such as video,sweep.
ARG EXTRAS=video,sweep

WORKDIR /opt/hasama
COPY constraints.txt ./
# First and alone, for it is large and seldom changes. Its own index has what it needs, but for the rest PyPI is asked.
RUN pip install --no-cache-dir --index-url "$TORCH_INDEX" --extra-index-url https://pypi.org/simple \
    --constraint constraints.txt torch
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN pip install --no-cache-dir --constraint constraints.txt ".[$EXTRAS]" \
    && useradd --create-home --uid 1000 hasama \
    && install --directory --owner=hasama --group=hasama /home/hasama/cache /home/hasama/runs

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
