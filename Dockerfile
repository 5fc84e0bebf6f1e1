# crosscam serve in a container, on CPUs.
#   docker build --build-arg TORCH=WHEEL -t crosscam .     WHEEL: name or address of the torch build that fits the machine
#   docker run -p 127.0.0.1:8700:8700 -v $PWD/people.gallery:/gallery -v $PWD/token:/token:ro crosscam
FROM python:3.12-slim
ARG TORCH=torch
WORKDIR /app
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY src ./src
# torch first: pip's own choice may bring gigabytes of CUDA libraries.
RUN pip install --no-cache-dir --constraint constraints.txt $TORCH \
    && pip install --no-cache-dir --constraint constraints.txt ".[web,gallery,export,fast]"
RUN useradd --create-home crosscam && mkdir /gallery && chown crosscam /gallery
USER crosscam
EXPOSE 8700
ENTRYPOINT ["crosscam", "serve", "--host", "0.0.0.0", "--gallery", "/gallery", "--token-file", "/token"]
CMD ["--model", "rrid-mini"]
