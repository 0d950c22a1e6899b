# The whole project in one image; docker-compose.yml says how it is run.
FROM python:3.11.14-slim-bookworm

RUN useradd --create-home --uid 10001 sluice \
    && install -d -o sluice -g sluice /opt/sluice /var/lib/sluice
USER sluice
WORKDIR /opt/sluice

# The packages first: they change less often than the code.
COPY --chown=sluice requirements.txt ./
COPY --chown=sluice include/sluice/stack/environment.py include/sluice/stack/environment.py
RUN python include/sluice/stack/environment.py
COPY --chown=sluice . .

ENV PATH=/opt/sluice/.venv/bin:$PATH
CMD ["sluice", "up"]
