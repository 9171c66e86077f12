// A pad that makes one picture: drawn with mouse, finger or pen, a typed character, or an image file.

import { show } from "./errors.js";
import { drawLetter, drawStrokes, letterToPicture, strokesToPicture } from "./ink.js";
import { paint, readImage, toPicture } from "./pixels.js";

const RESOLUTION = 560;

export class Pad extends EventTarget {
  #content = { strokes: [] };
  #pointer = null;
  #inverted = () => false;

  /**
   * Tells `change` when there is another picture, or none any more.
   * @param {HTMLElement} root where the pad is made, from the template "pad-template".
   * @param {number[]} shape height, width and channels of its pictures.
   * @param {() => boolean} inverted whether ink is to be white on black.
   */
  constructor(root, shape, inverted) {
    super();
    root.append(document.getElementById("pad-template").content.cloneNode(true));
    this.shape = shape;
    this.#inverted = inverted;
    const part = (name) => root.querySelector(`[data-part="${name}"]`);
    [this.canvas, this.preview, this.fault] = ["canvas", "preview", "fault"].map(part);
    this.#listen();
    part("undo").addEventListener("click", () => this.#undo());
    part("clear").addEventListener("click", () => this.clear());
    part("letter-form").addEventListener("submit", (event) => {
      event.preventDefault();
      const letter = part("letter").value.trim();
      if (letter) this.#replace({ strokes: [], letter, font: part("font").value });
    });
    part("file").addEventListener("change", (event) => this.#read(event.target));
    this.refresh();
  }

  /** Height x width x channels in [0, 1], or null while the pad is empty. */
  get picture() {
    const { strokes, letter, font, picture } = this.#content;
    if (picture) return picture;
    if (letter) return letterToPicture(letter, font, this.shape, this.#inverted());
    return strokes.length ? strokesToPicture(strokes, this.shape, this.#inverted()) : null;
  }

  /** Empties the pad. */
  clear() {
    this.#replace({ strokes: [] });
  }

  /** Shows what is on the pad, and tells. */
  refresh() {
    this.#draw();
    const picture = this.picture;
    this.preview.classList.toggle("empty", picture === null);
    if (picture) paint(this.preview, picture);
    this.dispatchEvent(new Event("change"));
  }

  #replace(content) {
    this.fault.textContent = "";
    this.#content = content;
    this.refresh();
  }

  #undo() {
    this.#replace({ strokes: this.#content.strokes.slice(0, -1) });
  }

  async #read(input) {
    const [file] = input.files;
    if (!file) return;
    try {
      this.#replace({ strokes: [], picture: toPicture(await readImage(file), this.shape) });
    } catch (error) {
      show(this.fault, error);
    } finally {
      // The same file may be chosen again.
      input.value = "";
    }
  }

  #listen() {
    this.canvas.addEventListener("pointerdown", (event) => {
      if (this.#pointer !== null || event.button !== 0) return;
      event.preventDefault();
      this.#pointer = event.pointerId;
      this.canvas.setPointerCapture(event.pointerId);
      const { letter, picture, strokes } = this.#content;
      this.#content = { strokes: letter || picture ? [] : strokes };
      this.#content.strokes.push([this.#place(event)]);
      this.#draw();
    });
    this.canvas.addEventListener("pointermove", (event) => {
      if (event.pointerId !== this.#pointer) return;
      const moves = event.getCoalescedEvents?.() ?? [];
      this.#content.strokes.at(-1).push(...(moves.length ? moves : [event]).map((move) => this.#place(move)));
      this.#draw();
    });
    for (const name of ["pointerup", "pointercancel"]) {
      this.canvas.addEventListener(name, (event) => {
        if (event.pointerId !== this.#pointer) return;
        this.#pointer = null;
        this.refresh();
      });
    }
  }

  #place(event) {
    const box = this.canvas.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  }

  #draw() {
    const { strokes, letter, font, picture } = this.#content;
    this.canvas.classList.toggle("coarse", Boolean(picture));
    if (picture) return paint(this.canvas, picture);
    // An image file had given the canvas the size of its picture.
    this.canvas.width = this.canvas.height = RESOLUTION;
    const context = this.canvas.getContext("2d");
    context.fillStyle = "white";
    context.fillRect(0, 0, this.canvas.width, this.canvas.height);
    context.fillStyle = context.strokeStyle = "black";
    if (letter) drawLetter(context, letter, font);
    drawStrokes(context, strokes);
  }
}
