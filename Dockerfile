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
# What an installed package would have; nothing is installed here, so that nothing else is needed.
RUN printf '#!/opt/embedded-tf/bin/python\nfrom app.cli import main\n\nmain()\n' > /opt/embedded-tf/bin/embedded-tf \
 && chmod 755 /opt/embedded-tf/bin/embedded-tf
# Compiled now, because nothing can be written to the image's root when it runs.
RUN /opt/embedded-tf/bin/python -m compileall -q /opt/embedded-tf \
 && /opt/embedded-tf/bin/python -c "import app.web.handler, app.cli.predict, app.storage.gcs"

# What all images of the service have in common.
FROM ${PYTHON_IMAGE} AS service
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
# It answers also while a job runs.
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen(f'http://127.0.0.1:{os.environ[\"PORT\"]}/health', timeout=4)"]
# `docker run IMAGE predict --model ...` runs one job and ends, as Cloud Run jobs do.
ENTRYPOINT ["embedded-tf"]
CMD ["serve", "--host", "0.0.0.0"]

# `--target tensorflow`: TensorFlow in place of the server program. It starts any model in a fraction of
# the time, and is larger. docs/latency.md compares the two.
FROM build AS build-tensorflow
RUN python -m pip --python /opt/embedded-tf/bin/python install --no-compile --no-deps --require-hashes \
        --requirement requirements/tensorflow.txt \
 && /opt/embedded-tf/bin/python -m compileall -q /opt/embedded-tf \
 && /opt/embedded-tf/bin/python -c "from tfserving_launcher.python_server.tensorflow_runtime import load_runtime; load_runtime([])"

FROM service AS tensorflow
COPY --from=build-tensorflow /opt/embedded-tf /opt/embedded-tf
ENV MODEL_SERVER=tensorflow

FROM service
COPY --from=serving /usr/bin/tensorflow_model_server /usr/bin/tensorflow_model_server
COPY --from=build /opt/embedded-tf /opt/embedded-tf
