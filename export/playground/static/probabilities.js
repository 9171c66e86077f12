// The bars: one for each class that has examples.

export class Probabilities {
  #bars = [];

  /**
   * @param {HTMLElement} list where the bars are.
   * @param {HTMLElement} sentence where the answer is said, for those who do not see the bars.
   */
  constructor(list, sentence) {
    this.list = list;
    this.sentence = sentence;
  }

  /** Makes empty bars for these class rows. */
  reset(rows) {
    this.#bars = rows.map((row) => bar(row));
    this.list.replaceChildren(...this.#bars.map(({ item }) => item));
    this.clear();
  }

  /** Names of classes have changed. */
  rename() {
    for (const { row, name, progress } of this.#bars) {
      name.textContent = row.name;
      progress.setAttribute("aria-label", row.name);
    }
  }

  /** No query is being asked. */
  clear() {
    this.show(this.#bars.map(() => 0));
    this.sentence.textContent = "";
  }

  /**
   * @param {number[]} values in [0, 1], one a bar.
   * @param {{known: boolean, held: boolean[]}} [judgement] of a model that was exported with a confidence.
   */
  show(values, judgement) {
    this.#bars.forEach(({ progress, text }, index) => {
      progress.value = values[index];
      text.textContent = percent(values[index]);
    });
    const best = values.indexOf(Math.max(...values));
    if (best < 0) return;
    const likely = `ost likely ${this.#bars[best].row.name}: ${percent(values[best])}.`;
    this.sentence.textContent = judgement?.known === false ? `None of these classes. Among them m${likely}` : `M${likely}`;
    if (!judgement) return;
    const held = this.#bars.filter((_, index) => judgement.held[index]).map(({ row }) => row.name);
    this.sentence.textContent += ` Prediction set: ${held.join(", ")}.`;
  }
}

/**
 * The probabilities of the classes that have examples: the model's first ones, and they add up to one again.
 * @param {number[]} all of the model's classes.
 * @param {number} used how many of them have examples.
 */
export function renormalised(all, used) {
  const kept = all.slice(0, used);
  const total = kept.reduce((sum, value) => sum + value, 0);
  // All zero, then: the model holds the query for none of these classes.
  return total > 0 ? kept.map((value) => value / total) : kept;
}

/**
 * What the bars show of one query: calibrated probabilities and a judgement where the model has them.
 * @param {Object<string, Array>} outputs of `predict`, for one task.
 * @param {number} used how many classes have examples.
 * @param {number} query which of the queries.
 */
export function judged(outputs, used, query = 0) {
  const calibrated = outputs.calibrated_probabilities;
  if (!calibrated) return [renormalised(outputs.probabilities[0][query], used)];
  // The model itself leaves out classes without an example here.
  const known = outputs.is_known ? outputs.is_known[0][query] === 1 : true;
  return [calibrated[0][query].slice(0, used), { known, held: outputs.prediction_set[0][query].map((value) => value === 1) }];
}

function bar(row) {
  const [item, name, progress, text] = ["li", "span", "progress", "span"].map((tag) => document.createElement(tag));
  name.className = "name";
  text.className = "percent";
  name.textContent = row.name;
  progress.setAttribute("aria-label", row.name);
  progress.max = 1;
  item.append(name, progress, text);
  return { row, item, name, progress, text };
}

function percent(value) {
  return `${(100 * value).toFixed(1)} %`;
}
