// One class: its name and its examples.

import { show } from "./errors.js";
import { paint, readImage, toPicture } from "./pixels.js";

export class ClassRow extends EventTarget {
  /** Nested arrays, in the order in which they were added. */
  pictures = [];
  #items = new Map();

  /**
   * Tells `change` when examples come or go, `rename` when the name changes.
   * @param {HTMLElement} list where the row is appended, from the template "class-template".
   * @param {number} number from 1 on.
   * @param {import("./pad.js").Pad} pad whose picture can be added.
   */
  constructor(list, number, pad) {
    super();
    const fragment = document.getElementById("class-template").content.cloneNode(true);
    const part = (name) => fragment.querySelector(`[data-part="${name}"]`);
    [this.input, this.examples, this.fault] = ["name", "examples", "fault"].map(part);
    this.fallback = `Class ${number}`;
    this.input.value = this.fallback;
    this.input.setAttribute("aria-label", `Name of class ${number}`);
    this.addButton = part("add");
    this.fileInput = part("files");
    this.input.addEventListener("input", () => this.#renamed());
    this.addButton.addEventListener("click", () => this.#addFrom(pad));
    this.fileInput.addEventListener("change", () => this.#upload(pad.shape));
    this.#describe();
    list.append(fragment);
  }

  /** What the class is called. */
  get name() {
    return this.input.value.trim() || this.fallback;
  }

  /** Says of an example that it looks like one of another class. */
  mark(picture, other) {
    const item = this.#items.get(picture);
    item.classList.add("suspect");
    item.querySelector(".verdict").textContent = `looks like “${other.name}”`;
  }

  /** Takes back what was said of examples. */
  unmark() {
    for (const item of this.#items.values()) {
      item.classList.remove("suspect");
      item.querySelector(".verdict").textContent = "";
    }
  }

  #renamed() {
    this.#describe();
    this.dispatchEvent(new Event("rename"));
  }

  #describe() {
    this.addButton.setAttribute("aria-label", `Add the drawing to ${this.name}`);
    this.fileInput.setAttribute("aria-label", `Upload images of ${this.name}`);
    this.examples.setAttribute("aria-label", `Examples of ${this.name}`);
  }

  #addFrom(pad) {
    const { picture } = pad;
    this.fault.textContent = picture ? "" : "The pad is empty: draw something, type a character or open an image first.";
    if (!picture) return;
    this.#add(picture);
    pad.clear();
  }

  async #upload(shape) {
    this.fault.textContent = "";
    const files = [...this.fileInput.files];
    this.fileInput.value = "";
    for (const file of files) {
      try {
        this.#add(toPicture(await readImage(file), shape));
      } catch (error) {
        show(this.fault, error);
      }
    }
  }

  #add(picture) {
    this.pictures.push(picture);
    const item = document.createElement("li");
    const canvas = document.createElement("canvas");
    paint(canvas, picture);
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "×";
    button.title = "Remove this example";
    button.setAttribute("aria-label", "Remove this example");
    button.addEventListener("click", () => this.#remove(picture, item));
    const verdict = document.createElement("span");
    verdict.className = "verdict";
    item.append(canvas, button, verdict);
    this.#items.set(picture, item);
    this.examples.append(item);
    this.dispatchEvent(new Event("change"));
  }

  #remove(picture, item) {
    this.pictures.splice(this.pictures.indexOf(picture), 1);
    this.#items.delete(picture);
    const neighbour = item.nextElementSibling ?? item.previousElementSibling;
    item.remove();
    // The focus must not fall back to the top of the page.
    (neighbour?.querySelector("button") ?? this.addButton).focus();
    this.dispatchEvent(new Event("change"));
  }
}
