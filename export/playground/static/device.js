// A LiteRT file in the place of a server: the same questions, answered within this page.

import { PlaygroundError } from "./errors.js";

export class Device {
  /** @param {string} file beside this page, with its JSON file and the folder `runtime`. */
  static async open(file) {
    const response = await fetch(file.replace(/\.tflite$/, ".json"));
    if (!response.ok) throw new PlaygroundError(`The description of ${file} is missing: write this page again.`);
    const facts = await response.json();
    const { loadLiteRt, loadAndCompile, Tensor } = await import("./runtime/core.js");
    await loadLiteRt("./runtime/wasm/");
    return new Device(facts, await loadAndCompile(`./${file}`, { accelerator: "wasm" }), Tensor);
  }

  constructor(facts, model, Tensor) {
    this.facts = facts;
    this.model = model;
    this.Tensor = Tensor;
  }

  /**
   * The outputs of `adapt` or `predict` by name, as a server gives them: with task axis, of one task.
   * @param {Object<string, Array>} inputs likewise.
   */
  async predict(signature, inputs) {
    if (signature === "adapt") {
      const { adapted_state } = await this.#run(signature, this.#support(inputs));
      return { adapted_state: [adapted_state], model_fingerprint: [0] };
    }
    const [name] = Object.keys(this.facts.signatures.predict.outputs);
    const rows = await this.#rows(inputs.adapted_state[0], inputs.query_inputs[0], name);
    return { [name]: [rows] };
  }

  #support(inputs) {
    const wanted = this.facts.support;
    const received = inputs.support_inputs[0].length;
    if (received !== wanted) {
      const remedy = received < wanted ? `add ${wanted - received}` : `remove ${received - wanted}`;
      throw new PlaygroundError(`This file adapts to exactly ${wanted} examples, received ${received}: ${remedy}.`);
    }
    return Object.fromEntries(Object.entries(inputs).map(([name, [values]]) => [name, values]));
  }

  /** Asks for as many queries at a time as the file takes; the last one is repeated where some are missing. */
  async #rows(adapted_state, queries, name) {
    const [count, size] = this.facts.signatures.predict.outputs[name].shape;
    const rows = [];
    for (let start = 0; start < queries.length; start += count) {
      const asked = Array.from({ length: count }, (_, index) => queries[Math.min(start + index, queries.length - 1)]);
      const values = (await this.#run("predict", { adapted_state, query_inputs: asked }))[name];
      for (let row = 0; row < count; row++) rows.push(values.slice(row * size, (row + 1) * size));
    }
    return rows.slice(0, queries.length);
  }

  async #run(signature, inputs) {
    const given = {};
    for (const [name, { shape, dtype }] of Object.entries(this.facts.signatures[signature].inputs)) {
      const values = inputs[name].flat(Infinity);
      given[name] = new this.Tensor(dtype === "int32" ? Int32Array.from(values) : Float32Array.from(values), shape);
    }
    const outputs = await this.model.run(signature, given);
    const entries = Object.entries(outputs).map(async ([name, tensor]) => [name, Array.from(await tensor.data())]);
    const answer = Object.fromEntries(await Promise.all(entries));
    // The runtime's memory is no garbage collector's.
    for (const tensor of [...Object.values(given), ...Object.values(outputs)]) tensor.delete();
    return answer;
  }
}
