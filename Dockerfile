# One service, one model server program, no TensorFlow package: only its _pb2 modules.
# cloudbuild.yaml gives both images by digest.
ARG PYTHON_IMAGE=python:3.11-slim
ARG TENSORFLOW_SERVING_VERSION=2.19.1
ARG SERVING_IMAGE=tensorflow/serving:${TENSORFLOW_SERVING_VERSION}

FROM ${SERVING_IMAGE} AS serving

FROM ${PYTHON_IMAGE} AS build
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
WORKDIR /build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
COPY requirements/ requirements/
# The set is complete, so no package needs to bring others.
RUN python -m venv /opt/embedded-tf \
 && /opt/embedded-tf/bin/pip install --no-deps --require-hashes --requirement requirements/runtime.txt \
 && /opt/embedded-tf/bin/pip uninstall --yes pip setuptools
# The generated modules are the same on every platform, so the wheel of any will do.
RUN python -m pip download --no-deps --only-binary=:all: --platform manylinux_2_27_x86_64 \
        --python-version 3.11 --require-hashes --requirement requirements/wheel.txt --dest wheel \
 && /opt/embedded-tf/bin/python -c "import glob, sysconfig, zipfile; wheel = zipfile.ZipFile(glob.glob('wheel/*.whl')[0]); wheel.extractall(sysconfig.get_path('purelib'), [name for name in wheel.namelist() if name.endswith('_pb2.py')])" \
 && rm -rf wheel
COPY app/ /opt/embedded-tf/src/app/
COPY tfserving_launcher/ /opt/embedded-tf/src/tfserving_launcher/
ENV PYTHONPATH=/opt/embedded-tf/src
# Compiled now, because nothing can be written to the image's root when it runs.
RUN /opt/embedded-tf/bin/python -m compileall -q /opt/embedded-tf \
 && /opt/embedded-tf/bin/python -c "import app.web.handler, app.cli, app.storage.gcs"

FROM ${PYTHON_IMAGE}
COPY --from=serving /usr/bin/tensorflow_model_server /usr/bin/tensorflow_model_server
COPY --from=build /opt/embedded-tf /opt/embedded-tf
# hadolint ignore=DL3064 # PRIVATE_FOLDERS are this instance's own; nothing in it is a secret
ENV PATH=/opt/embedded-tf/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONPATH=/opt/embedded-tf/src \
    PYTHONUNBUFFERED=1 \
    HOME=/nonexistent \
    PRIVATE_FOLDERS=/tmp:/dev/shm \
    PORT=8080
WORKDIR /opt/embedded-tf/src
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["gunicorn", "-c", "python:app.gunicorn_conf", "app.wsgi:app"]
