# The image that analyses are built on: plain Debian with bash, the user that jobs run as, and the io-dir.
ARG DEBIAN=debian:bookworm-slim
FROM ${DEBIAN}

RUN useradd --uid 1000 --create-home --shell /bin/bash neurocaasdev
USER neurocaasdev
ENV HOME=/home/neurocaasdev
WORKDIR /home/neurocaasdev

# A job may run under the uid of whoever started it, so that its files are theirs: any uid can write to the home.
RUN mkdir -p io-dir/inputs io-dir/configs io-dir/results io-dir/logs && chmod -R a+rwX .
LABEL org.neurocaas.io-dir=/home/neurocaasdev/io-dir
CMD ["bash"]
