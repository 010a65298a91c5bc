# The image of every node: Ray, the pinned dependencies and the jobs; no data, no weights.
#   docker build --tag registry.example.com/ray-ue:0.1.0 . && docker push registry.example.com/ray-ue:0.1.0
# Not built yet, and the tag below not pulled: no container engine was at hand. The wheels bring CUDA 13, which needs a driver that knows it.
FROM rayproject/ray:2.60.0-py311-gpu

SHELL ["/bin/bash", "-o", "pipefail", "-c"]
USER ray
ENV UV_COMPILE_BYTECODE=1
WORKDIR /home/ray/ray-ue

# The same steps as `make install`, without the development tools; dependencies first, so that a change of code keeps this layer.
COPY --chown=ray pyproject.toml constraints.txt README.md LICENSE ./
# optuna: for `ray-ue sweep --search optuna`. boto3: with `ray up` on AWS the head's autoscaler starts and ends the workers.
RUN python -m pip install --no-cache-dir --constraint constraints.txt uv \
 && uv pip install --system --no-cache --constraint constraints.txt --requirement pyproject.toml --extra optuna boto3

# Installed, so that jobs also run without an upload; a submitted working directory comes before it on the path.
COPY --chown=ray ray_ue ray_ue
COPY --chown=ray jobs jobs
RUN uv pip install --system --no-cache --no-deps .
