"""Which devices a program runs on: the flags `--strategy` and `--cpu_devices`."""

from __future__ import annotations

import tensorflow as tf


def make_strategy(name: str, cpu_devices: int = 1) -> tf.distribute.Strategy | None:
    cpus = tf.config.list_physical_devices("CPU")
    if cpu_devices > 1:
        tf.config.set_logical_device_configuration(cpus[0], [tf.config.LogicalDeviceConfiguration()] * cpu_devices)
    if name == "one":
        return None
    if name == "multi_worker":
        return tf.distribute.MultiWorkerMirroredStrategy()
    kind = "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
    return tf.distribute.MirroredStrategy([device.name for device in tf.config.list_logical_devices(kind)])
