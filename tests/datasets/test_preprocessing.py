import numpy as np
import pytest
import tensorflow as tf

from cml_tf.datasets.image_files import decode_and_resize, decode_contents, decode_files, scale
from tests.helpers.drawn_images import encoded, pixels, write_tree


def test_colour_becomes_luma():
    colour = pixels(2)
    result = decode_and_resize(encoded(colour), (10, 12), 1)
    assert result.dtype == tf.uint8 and result.shape == (10, 12, 1)
    assert np.abs(result.numpy()[..., 0] - colour.astype(float) @ [0.299, 0.587, 0.114]).max() < 2


def test_resizing_smooths_and_never_leaves_the_range():
    # Stripes one pixel wide vanish into grey when halved with antialiasing; without it they would come out at random.
    stripes = np.zeros((32, 32, 1), np.uint8)
    stripes[:, ::2] = 255
    inner = decode_and_resize(encoded(stripes), (16, 16), 1).numpy()[:, 2:-2]
    assert np.abs(inner.astype(int) - 127.5).max() <= 1
    white = np.full((31, 17, 3), 255, np.uint8)
    for size in ((28, 28), (84, 84), (5, 3)):
        np.testing.assert_array_equal(decode_and_resize(encoded(white), size, 3), np.full((*size, 3), 255))


def test_scale_maps_bytes_onto_the_unit_interval():
    np.testing.assert_allclose(scale(tf.constant([0, 51, 255], tf.uint8)), [0.0, 0.2, 1.0], rtol=1e-7)
    assert scale(tf.constant([3], tf.uint8)).dtype == tf.float32


def test_graph_over_a_batch_equals_the_loaders(tmp_path):
    """What an exported graph computes from bytes is what the loaders hold, bit for bit."""
    contents = [encoded(pixels(seed, (20 + seed, 31))) for seed in range(5)]

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def served(images):
        spec = tf.TensorSpec([14, 15, 3], tf.float32)
        return tf.map_fn(lambda one: scale(decode_and_resize(one, (14, 15), 3)), images, fn_output_signature=spec)

    module = tf.Module()
    module.served = served
    tf.saved_model.save(module, str(tmp_path / "model"))
    loaded = tf.saved_model.load(str(tmp_path / "model"))
    stored = decode_contents(contents, names=list("abcde"), image_size=(14, 15), channels=3)
    np.testing.assert_array_equal(loaded.served(tf.constant(contents)), scale(stored))
    write_tree(tmp_path, {f"{number}.png": one for number, one in enumerate(contents)})
    paths = [str(tmp_path / f"{number}.png") for number in range(5)]
    np.testing.assert_array_equal(decode_files(paths, image_size=(14, 15), channels=3), stored)


def test_bytes_that_are_no_image_and_other_channels_raise():
    for contents in (b"", b"not an image", encoded(pixels(0))[:60]):
        with pytest.raises(tf.errors.InvalidArgumentError):
            decode_and_resize(tf.constant(contents), (4, 4), 3)
    for channels in (0, 2, 4):
        with pytest.raises(ValueError, match="channels must be 1"):
            decode_and_resize(encoded(pixels(0)), (4, 4), channels)
