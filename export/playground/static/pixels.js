// Pictures as the model takes them: height x width x channels in [0, 1], nested as in JSON.

import { PlaygroundError } from "./errors.js";

const LARGEST = 25_000_000;

/**
 * Resizes and scales as cml_tf.datasets.preprocessing does (antialiased bilinear, rounded to 256 levels, the whole image
 * onto the whole result), so that the model gets the numbers that it was trained with.
 * @param {ImageData} image whose transparent parts count as white.
 * @param {number[]} shape height, width and channels (1 or 3) of the result.
 */
export function toPicture(image, [height, width, channels]) {
  const planes = (channels === 1 ? [grey(image)] : [0, 1, 2].map((channel) => colour(image, channel))).map((plane) =>
    resize(plane, image.height, image.width, height, width),
  );
  const level = (plane, row, column) => Math.fround(Math.round(plane[row * width + column]) * Math.fround(1 / 255));
  return Array.from({ length: height }, (_, row) =>
    Array.from({ length: width }, (_, column) => planes.map((plane) => level(plane, row, column))),
  );
}

/** Decodes an image file, turned as its EXIF orientation asks; raises PlaygroundError if it is none or see-through. */
export async function readImage(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { colorSpaceConversion: "none", imageOrientation: "from-image" });
  } catch {
    throw new PlaygroundError(`${file.name} is not an image that this browser can read. Use PNG or JPEG.`);
  }
  if (bitmap.width * bitmap.height > LARGEST) {
    throw new PlaygroundError(`${file.name} has more than 25 million pixels. Make it smaller first.`);
  }
  const context = blankSheet(bitmap.height, bitmap.width);
  context.clearRect(0, 0, bitmap.width, bitmap.height);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const image = pixelsOf(context);
  for (let index = 3; index < image.data.length; index += 4) {
    if (image.data[index] < 255) {
      throw new PlaygroundError(`${file.name} has transparent pixels. Save it on a background first.`);
    }
  }
  return image;
}

/** Shows a picture on a canvas, pixel for pixel. */
export function paint(canvas, picture) {
  canvas.height = picture.length;
  canvas.width = picture[0].length;
  const context = canvas.getContext("2d");
  const image = context.createImageData(canvas.width, canvas.height);
  picture.flat().forEach((pixel, index) => {
    const [red, green, blue] = pixel.length === 3 ? pixel : [pixel[0], pixel[0], pixel[0]];
    image.data.set([red * 255, green * 255, blue * 255, 255], 4 * index);
  });
  context.putImageData(image, 0, 0);
}

/** A white canvas to draw on that nobody sees. */
export function blankSheet(height, width) {
  const canvas = document.createElement("canvas");
  canvas.height = height;
  canvas.width = width;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  return context;
}

/** All pixels of a canvas. */
export function pixelsOf(context) {
  return context.getImageData(0, 0, context.canvas.width, context.canvas.height);
}

function grey({ data }) {
  const plane = new Float32Array(data.length / 4);
  for (let index = 0; index < plane.length; index++) {
    const [first, second, third] = [4 * index, 4 * index + 1, 4 * index + 2];
    // The weights of the decoders that the loaders use; that of PNG rounds down, so one level of 256 may differ.
    plane[index] = Math.round(0.299 * data[first] + 0.587 * data[second] + 0.114 * data[third]);
  }
  return plane;
}

function colour({ data }, channel) {
  return Float32Array.from({ length: data.length / 4 }, (_, index) => data[4 * index + channel]);
}

function resize(plane, height, width, newHeight, newWidth) {
  const columns = spans(width, newWidth);
  const rows = spans(height, newHeight);
  const narrow = new Float32Array(height * newWidth);
  for (let row = 0; row < height; row++) {
    columns.forEach(({ first, weights }, column) => {
      narrow[row * newWidth + column] = weighted(weights, (index) => plane[row * width + first + index]);
    });
  }
  const result = new Float32Array(newHeight * newWidth);
  rows.forEach(({ first, weights }, row) => {
    for (let column = 0; column < newWidth; column++) {
      result[row * newWidth + column] = weighted(weights, (index) => narrow[(first + index) * newWidth + column]);
    }
  });
  return result;
}

function weighted(weights, valueAt) {
  let sum = 0;
  for (let index = 0; index < weights.length; index++) sum += weights[index] * valueAt(index);
  return sum;
}

/** For each new pixel of a line: the first old one that it looks at, and the weights from there on. */
function spans(from, to) {
  const scale = from / to;
  const reach = Math.max(scale, 1);
  return Array.from({ length: to }, (_, position) => {
    const centre = (position + 0.5) * scale;
    const first = Math.max(0, Math.ceil(centre - reach - 0.5));
    const last = Math.min(from - 1, Math.floor(centre + reach - 0.5));
    const raw = Array.from({ length: last - first + 1 }, (_, index) =>
      Math.max(0, 1 - Math.abs(first + index + 0.5 - centre) / reach),
    );
    const total = raw.reduce((sum, weight) => sum + weight, 0);
    return { first, weights: raw.map((weight) => weight / total) };
  });
}
