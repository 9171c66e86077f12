// Regression from one number to one number: points in, the curve before and after adaptation out.

import { PlaygroundError, losses, show } from "./errors.js";
import { Latest } from "./latest.js";
import { Plot } from "./plot.js";

const QUERIES = 201;
const WAVE_POINTS = 5;

export class Regression {
  #points = [];

  /**
   * @param {HTMLElement} root the section of the page.
   * @param {import("./rest.js").Rest} rest
   * @param {{hasInitialState: boolean}} model
   */
  constructor(root, rest, model) {
    this.rest = rest;
    this.model = model;
    const part = (name) => root.querySelector(`[data-part="${name}"]`);
    [this.list, this.status, this.fault] = ["points", "status", "fault"].map(part);
    this.numbers = Object.fromEntries(["x", "y", "x-from", "x-to", "y-from", "y-to"].map((name) => [name, part(name)]));
    this.addButton = part("add");
    this.plot = new Plot(part("plot"), this.#ranges());
    this.update = new Latest((signal) => this.#update(signal), (error) => this.#failed(error));
    this.plot.addEventListener("point", (event) => this.#attempt(() => this.#add([event.detail])));
    part("point-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#attempt(() => this.#add([[number(this.numbers.x, "x"), number(this.numbers.y, "y")]]));
    });
    part("axes-form").addEventListener("change", () => this.#attempt(() => this.#rescale()));
    part("axes-form").addEventListener("submit", (event) => event.preventDefault());
    part("wave").addEventListener("click", () => this.#attempt(() => this.#add(this.#wave())));
    part("clear").addEventListener("click", () => this.#attempt(() => this.#replace([])));
    part("no-initial-state").hidden = model.hasInitialState || model.here;
    part("before-legend").hidden = !model.hasInitialState;
    this.#replace([]);
  }

  #attempt(action) {
    this.fault.textContent = "";
    try {
      action();
    } catch (error) {
      show(this.fault, error);
    }
  }

  #ranges() {
    const range = (axis) => ["from", "to"].map((end) => number(this.numbers[`${axis}-${end}`], `${axis} ${end}`));
    const ranges = { x: range("x"), y: range("y") };
    for (const [axis, [low, high]] of Object.entries(ranges)) {
      if (low >= high) throw new PlaygroundError(`The axis ${axis} must end above its start, received ${low} to ${high}.`);
    }
    return ranges;
  }

  #rescale() {
    this.plot.setRanges(this.#ranges());
    this.#replace(this.#points);
  }

  #add(points) {
    for (const point of points) {
      for (const [index, axis] of ["x", "y"].entries()) {
        const [low, high] = this.plot.ranges[axis];
        if (point[index] < low || point[index] > high) {
          throw new PlaygroundError(`${axis} must be from ${low} to ${high}, received ${point[index]}. Change the point, or widen the axes.`);
        }
      }
    }
    this.#replace([...this.#points, ...points]);
  }

  #replace(points) {
    this.#points = points;
    this.plot.showPoints(points);
    this.list.replaceChildren(...points.map((point, index) => this.#item(point, index)));
    if (points.length) {
      this.update.request();
    } else {
      this.update.cancel();
      this.plot.showCurves({});
      this.status.textContent = "No points yet.";
    }
  }

  #item(point, index) {
    const [item, button] = ["li", "button"].map((tag) => document.createElement(tag));
    const words = `(${point.map((value) => value.toFixed(2)).join(", ")})`;
    button.type = "button";
    button.textContent = "×";
    button.setAttribute("aria-label", `Remove the point ${words}`);
    button.addEventListener("click", () => {
      this.#attempt(() => this.#replace(this.#points.filter((_, other) => other !== index)));
      const left = this.list.querySelectorAll("button");
      // The focus must not fall back to the top of the page.
      (left[Math.min(index, left.length - 1)] ?? this.addButton).focus();
    });
    item.append(words, " ", button);
    return item;
  }

  #wave() {
    const { x, y } = this.plot.ranges;
    const largest = Math.min(5, y[1], -y[0]);
    if (largest <= 0) throw new PlaygroundError("The axis y must start below 0 and end above 0 for a wave around 0.");
    const amplitude = largest * (0.4 + 0.6 * Math.random());
    const phase = Math.PI * Math.random();
    return Array.from({ length: WAVE_POINTS }, () => {
      const place = x[0] + Math.random() * (x[1] - x[0]);
      return [place, amplitude * Math.sin(place - phase)];
    });
  }

  async #update(signal) {
    this.fault.textContent = "";
    const support = {
      support_inputs: [this.#points.map(([x]) => [x])],
      support_targets: [this.#points.map(([, y]) => [y])],
    };
    const signatures = this.model.hasInitialState ? ["adapt", "initial_state"] : ["adapt"];
    const states = await Promise.all(signatures.map((name) => this.rest.predict(name, support, signal)));
    const [low, high] = this.plot.ranges.x;
    const xs = Array.from({ length: QUERIES }, (_, index) => low + ((high - low) * index) / (QUERIES - 1));
    const { predictions } = await this.rest.predict(
      "predict",
      {
        // The state with and without inner steps are two tasks of one request.
        adapted_state: states.map((state) => state.adapted_state[0]),
        model_fingerprint: states.map((state) => state.model_fingerprint[0]),
        // Only states that grow with the points come with a length.
        ...(states[0].adapted_length && { adapted_length: states.map((state) => state.adapted_length[0]) }),
        query_inputs: states.map(() => xs.map((x) => [x])),
      },
      signal,
    );
    if (signal.aborted) return;
    const [after, before] = predictions.map((values) => values.map(([y], index) => [xs[index], y]));
    this.plot.showCurves(before ? { before, after } : { after });
    this.status.textContent =
      `Adapted to ${this.#points.length} ${this.#points.length === 1 ? "point" : "points"}.` +
      losses(states[0], "Loss on them");
  }

  #failed(error) {
    this.plot.showCurves({});
    this.status.textContent = "No curve.";
    show(this.fault, error);
  }
}

function number(input, name) {
  if (input.value.trim() === "" || !Number.isFinite(input.valueAsNumber)) {
    throw new PlaygroundError(`${name} must be a number.`);
  }
  return input.valueAsNumber;
}
