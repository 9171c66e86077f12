// The public REST API: metadata and predict, in column form. Nothing else is asked of a server.

import { PlaygroundError, checkStatus, httpError } from "./errors.js";

export class Rest {
  /**
   * @param {string} server scheme, host and port; empty for the server that gave this page.
   * @param {string} model its name on the server.
   */
  constructor(server, model) {
    this.server = server;
    this.base = `${server}/v1/models/${encodeURIComponent(model)}`;
  }

  /** The signatures of the model. */
  async metadata(signal) {
    return this.#ask(`${this.base}/metadata`, { signal });
  }

  /**
   * The outputs of one signature by name; raises PlaygroundError if any task has a status other than 0.
   * @param {Object<string, Array>} inputs with task axis.
   */
  async predict(signature, inputs, signal) {
    const body = JSON.stringify({ signature_name: signature, inputs });
    const headers = { "Content-Type": "application/json" };
    const answer = await this.#ask(`${this.base}:predict`, { method: "POST", body, headers, signal });
    checkStatus(answer.outputs.status);
    return answer.outputs;
  }

  async #ask(address, options) {
    let response;
    try {
      response = await fetch(address, { ...options, credentials: "omit", cache: "no-store" });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new PlaygroundError(this.#unreachable());
    }
    const text = await response.text();
    let document;
    try {
      document = JSON.parse(text);
    } catch {
      if (response.ok) throw new PlaygroundError("The answer of the server is not JSON. Check that this is TensorFlow Serving's REST port.");
    }
    if (!response.ok) throw httpError(response.status, document?.error ?? response.statusText);
    return document;
  }

  #unreachable() {
    return this.server
      ? `The server ${this.server} cannot be reached. Check that it is running, and that it allows other origins ` +
          "(--cors here, --rest_api_enable_cors_support for TensorFlow Serving)."
      : "The server cannot be reached. Check that it is still running, then try again.";
  }
}
