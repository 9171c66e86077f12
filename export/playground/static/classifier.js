// Classification of images: examples for each class, one adaptation, then queries against the adapted state.

import { advice, leaveOneOut } from "./advice.js";
import { ClassRow } from "./class_row.js";
import { PlaygroundError, losses, show } from "./errors.js";
import { Latest } from "./latest.js";
import { Pad } from "./pad.js";
import { Probabilities, judged } from "./probabilities.js";
import { adapt, ask } from "./task.js";

// More appear as they are needed: a model may take twenty classes, and people begin with two.
const ROWS = 5;

export class Classifier {
  #rows = [];
  #adapted = null;
  #changes = 0;
  #busy = false;
  #checking = false;

  /**
   * @param {HTMLElement} root the section of the page.
   * @param {import("./rest.js").Rest} rest
   * @param {{ways: number, shape: number[], exactly?: number}} model
   */
  constructor(root, rest, model) {
    this.rest = rest;
    const part = (name) => root.querySelector(`[data-part="${name}"]`);
    const inverted = part("inverted");
    this.examplePad = new Pad(part("example-pad"), model.shape, () => inverted.checked);
    this.queryPad = new Pad(part("query-pad"), model.shape, () => inverted.checked);
    this.ways = model.ways;
    this.classes = part("classes");
    while (this.#rows.length < Math.min(ROWS, this.ways)) this.#addRow();
    [this.status, this.fault, this.queryFault] = ["status", "fault", "query-fault"].map(part);
    this.advice = part("advice");
    this.bars = new Probabilities(part("bars"), part("answer"));
    this.query = new Latest((signal) => this.#predict(signal), (error) => this.#queryFailed(error));
    part("adapt").addEventListener("click", () => this.#adapt());
    // A model that adapts to an exact number of examples cannot do without one.
    part("check").hidden = Boolean(model.exactly);
    part("check").addEventListener("click", () => this.#check());
    this.queryPad.addEventListener("change", () => this.#queryChanged());
    inverted.addEventListener("change", () => [this.examplePad, this.queryPad].forEach((pad) => pad.refresh()));
    part("colour-note").hidden = model.shape[2] === 1;
    part("size").textContent = `${model.shape[0]} × ${model.shape[1]} pixels, ${model.ways} classes at most`;
  }

  #addRow() {
    const row = new ClassRow(this.classes, this.#rows.length + 1, this.examplePad);
    row.addEventListener("change", () => this.#examplesChanged());
    row.addEventListener("rename", () => this.bars.rename());
    this.#rows.push(row);
  }

  #examplesChanged() {
    if (this.#rows.length < this.ways && this.#rows.every((row) => row.pictures.length)) this.#addRow();
    this.#changes++;
    this.fault.textContent = this.advice.textContent = "";
    this.#rows.forEach((row) => row.unmark());
    const count = this.#rows.reduce((sum, row) => sum + row.pictures.length, 0);
    const classes = this.#rows.filter((row) => row.pictures.length).length;
    this.status.textContent = this.#adapted
      ? "The examples have changed: adapt again to use them."
      : `${count} ${count === 1 ? "example" : "examples"} of ${classes} ${classes === 1 ? "class" : "classes"}.`;
  }

  async #adapt() {
    // Not disabled meanwhile: that would take the focus from those who use the keyboard.
    if (this.#busy) return;
    this.#busy = true;
    this.fault.textContent = "";
    try {
      this.status.textContent = "Adapting …";
      await this.#adaptTo(this.#used());
    } catch (error) {
      this.#adapted = null;
      this.bars.reset([]);
      this.status.textContent = "Not adapted.";
      show(this.fault, error);
    } finally {
      this.#busy = false;
    }
    this.#queryChanged();
  }

  async #adaptTo(used) {
    if (used.length < 2) throw new PlaygroundError("Add examples of at least two classes first.");
    const changes = this.#changes;
    const examples = examplesOf(used);
    const start = performance.now();
    const { outputs, state } = await adapt(this.rest, examples);
    const took = Math.round(performance.now() - start);
    this.#adapted = { used, state };
    this.bars.reset(used);
    this.status.textContent = changes !== this.#changes
      ? "The examples have changed while the model adapted: adapt again to use them."
      : `Adapted to ${examples.length} examples of ${used.length} classes in ${took} ms.` +
        losses(outputs, "Loss on the examples");
  }

  #used() {
    return this.#rows.filter((row) => row.pictures.length);
  }

  /** Marks the examples that are taken for another class when they are left out. */
  async #check() {
    if (this.#checking) return;
    this.#checking = true;
    this.fault.textContent = "";
    const changes = this.#changes;
    const used = this.#used();
    const examples = examplesOf(used);
    try {
      const verdicts = await leaveOneOut(this.rest, examples, (done, all) => {
        this.advice.textContent = `Left out in round ${done} of ${all} …`;
      });
      if (changes !== this.#changes) throw new PlaygroundError("The examples have changed: check them again.");
      verdicts.forEach((verdict, place) => {
        const { picture, label } = examples[place];
        if (verdict && verdict.takenFor !== label) used[label].mark(picture, used[verdict.takenFor]);
      });
      this.advice.textContent = advice(examples, verdicts, used.map((row) => row.name));
    } catch (error) {
      this.advice.textContent = "";
      show(this.fault, error);
    } finally {
      this.#checking = false;
    }
  }

  #queryChanged() {
    this.queryFault.textContent = "";
    if (this.queryPad.picture === null) {
      this.query.cancel();
      this.bars.clear();
    } else if (this.#adapted === null) {
      this.query.cancel();
      this.queryFault.textContent = "Adapt to some examples first.";
    } else {
      this.query.request();
    }
  }

  async #predict(signal) {
    const { used, state } = this.#adapted;
    const outputs = await ask(this.rest, state, [this.queryPad.picture], signal);
    if (!signal.aborted) this.bars.show(...judged(outputs, used.length));
  }

  #queryFailed(error) {
    this.bars.clear();
    show(this.queryFault, error);
  }
}

function examplesOf(rows) {
  return rows.flatMap((row, label) => row.pictures.map((picture) => ({ picture, label })));
}
