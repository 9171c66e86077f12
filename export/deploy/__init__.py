"""Files to run TensorFlow Serving with (Docker, Kubernetes, KServe, and what they mount), and training (Kubernetes)."""

from pathlib import Path

FOLDER = Path(__file__).resolve().parent
FILES = (
    "batching_parameters.txt",
    "docker-compose.yaml",
    "json_depth.js",
    "kserve.yaml",
    "kubernetes.yaml",
    "models.config",
    "monitoring.config",
    "nginx.conf",
    "ssl.config",
    "training-job.yaml",
    "training-tfjob.yaml",
)
MONITORING = FOLDER / "monitoring.config"
