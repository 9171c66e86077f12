// Drawings and letters in the look of the glyphs and of Omniglot: black ink on white, centred on the ink.

import { blankSheet, pixelsOf, toPicture } from "./pixels.js";

// Of the glyphs (28 x 28): the larger side of the ink has a median of 18 pixels and never more than 24, an em has 22
// (glyph_rendering.py), and a stem of the twelve faces about 2.8.
const EXTENT = 18 / 28;
const LARGEST_EXTENT = 24 / 28;
const EM = 22 / 28;
export const STEM = 2.8 / 28;

const OVERSAMPLING = 4;
// A dot would otherwise be blown up to a disc.
const LARGEST_MAGNIFICATION = 4;

/**
 * Strokes as a picture for the model.
 * @param {number[][][]} strokes lists of points [x, y] in [0, 1], y downwards.
 * @param {number[]} shape height, width and channels.
 * @param {boolean} inverted white ink on black instead.
 */
export function strokesToPicture(strokes, shape, inverted) {
  const context = sheet(shape);
  const place = placement(strokes.flat());
  drawStrokes(context, strokes.map((stroke) => stroke.map(place)));
  return finished(context, shape, inverted);
}

/** Strokes with points in [0, 1] onto a whole canvas, in the colour of the context. */
export function drawStrokes(context, strokes) {
  const { width, height } = context.canvas;
  context.lineWidth = STEM * Math.min(width, height);
  context.lineCap = context.lineJoin = "round";
  for (const [start, ...rest] of strokes) {
    context.beginPath();
    context.moveTo(start[0] * width, start[1] * height);
    // A line to where it starts is a dot.
    for (const [x, y] of rest.length ? rest : [start]) context.lineTo(x * width, y * height);
    context.stroke();
  }
}

/**
 * A character of a font as a picture for the model.
 * @param {string} font a generic family: sans-serif, serif or monospace.
 */
export function letterToPicture(letter, font, shape, inverted) {
  const context = sheet(shape);
  drawLetter(context, letter, font);
  return finished(context, shape, inverted);
}

/** A character, centred on its ink and shrunk where it would not fit. */
export function drawLetter(context, letter, font) {
  const { width, height } = context.canvas;
  const side = Math.min(width, height);
  context.font = `${EM * side}px ${font}`;
  const box = context.measureText(letter);
  const wide = box.actualBoundingBoxLeft + box.actualBoundingBoxRight;
  const high = box.actualBoundingBoxAscent + box.actualBoundingBoxDescent;
  const scale = Math.min(1, (LARGEST_EXTENT * side) / Math.max(wide, high, 1));
  context.save();
  context.translate(width / 2, height / 2);
  context.scale(scale, scale);
  context.fillText(letter, box.actualBoundingBoxLeft - wide / 2, box.actualBoundingBoxAscent - high / 2);
  context.restore();
}

function sheet([height, width]) {
  const context = blankSheet(height * OVERSAMPLING, width * OVERSAMPLING);
  context.fillStyle = context.strokeStyle = "black";
  return context;
}

function finished(context, shape, inverted) {
  const image = pixelsOf(context);
  if (inverted) image.data.forEach((value, index) => index % 4 < 3 && (image.data[index] = 255 - value));
  return toPicture(image, shape);
}

/** People draw at any size and place; the data is centred and of like size, strokes keep their width. */
function placement(points) {
  const [xs, ys] = [0, 1].map((axis) => points.map((point) => point[axis]));
  const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const side = Math.max(right - left, bottom - top);
  const scale = Math.min(LARGEST_MAGNIFICATION, (EXTENT - STEM) / Math.max(side, 1e-6));
  return ([x, y]) => [0.5 + scale * (x - (left + right) / 2), 0.5 + scale * (y - (top + bottom) / 2)];
}
