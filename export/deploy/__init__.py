"""Files to run TensorFlow Serving with: Docker, Kubernetes, KServe, and what they mount."""

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
)
MONITORING = FOLDER / "monitoring.config"
