# The study with the very versions it was made with, wherever there is Docker:
#   docker build -t plcal .
#   mkdir -p results && docker run --rm --user "$(id -u)" -v "$PWD/results:/study/results" plcal study --scale smoke
# A GPU: docker run --gpus all …; your own copy of the raw data: -v /path/to/data:/data:ro -e PLCAL_DATA=/data
FROM python:3.11.7-slim-bookworm
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1
RUN useradd --create-home --uid 1000 study && mkdir -p /study/results && chown study /study/results
WORKDIR /study
COPY . .
# Editable, since the pages are run from their notebooks, as in a checkout.
RUN pip install --no-cache-dir -c constraints.txt setuptools \
    && pip install --no-cache-dir -c constraints.txt --no-build-isolation -e '.[lm,dev]'
USER 1000
ENTRYPOINT ["plcal"]
CMD ["--help"]
