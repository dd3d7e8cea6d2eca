# stmask in a container, for a CPU or an NVIDIA GPU.
#   docker build -t stmask .
#   docker run --rm -v "$PWD":/work stmask predict clip.mp4 checkpoint=best.ckpt output=out.mp4
#   docker run --rm --gpus all --shm-size 4g -v "$PWD":/work stmask train trainer=gpu data.root=data
# Without a GPU, far smaller: --build-arg EXTRAS= leaves out training, and PIP_EXTRA_INDEX_URL with PyTorch's index for CPUs
# (https://pytorch.org/get-started/locally/) leaves out CUDA.
FROM python:3.11 AS build
WORKDIR /src
COPY . .
# the metric's C module is compiled here, where there is a compiler
RUN STMASK_NEEDS_C=1 pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.11-slim
ARG EXTRAS=train,wandb
ARG PIP_EXTRA_INDEX_URL=
COPY --from=build /wheels /wheels
COPY constraints.txt /
RUN pip install --no-cache-dir -c /constraints.txt "$(echo /wheels/*.whl)${EXTRAS:+[$EXTRAS]}" && rm -r /wheels
WORKDIR /work
ENTRYPOINT ["stmask"]
