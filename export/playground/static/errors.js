// What went wrong, in words for the person at the page.

/** An error whose message is fit to be shown as it is. */
export class PlaygroundError extends Error {}

// The statuses of export/status.py, as they concern somebody at this page.
export const STATUS = {
  1: "Adaptation diverged to values that are not finite. Remove unusual examples, or export fewer inner steps.",
  2: "A class number is not among the classes of the model. Use fewer classes.",
  3: "An input is not a finite number. Remove the last example.",
  4: "There is no example, or examples and classes differ in number. Add an example.",
  5: "The server now has another version of the model. Adapt again.",
  6: "A node is not in the graph. The playground sends no graphs: use python -m export.client.predict.",
  7: "Steps or rate are out of the bounds of the model. The playground asks for neither: use python -m export.client.adapt.",
};

const HINTS = {
  400: "The model does not fit this page. Check that it is an export of cml_tf.",
  404: "Check the name of the model, and that a version of it is loaded.",
  413: "Use fewer examples, or start the server with a larger --max_message_bytes.",
  429: "The server is busy. Wait a moment and try again.",
  501: "This server cannot do that: it must offer TensorFlow Serving's REST API.",
  503: "The server is starting or stopping. Try again in a moment.",
  504: "The server took too long. Use fewer examples, or start it with a larger --timeout_seconds.",
};

/** The error for an HTTP status and the server's own words. */
export function httpError(status, message) {
  const hint = HINTS[status] ?? "See the log of the server.";
  return new PlaygroundError(`The server answered ${status}: ${message || "no reason given"}. ${hint}`);
}

/** Raises what the statuses of an answer's tasks say, unless all are well. */
export function checkStatus(statuses) {
  const fault = statuses.find((status) => status !== 0);
  if (fault !== undefined) {
    throw new PlaygroundError(STATUS[fault] ?? `The model answered the unknown status ${fault}.`);
  }
}

/** What adaptation did to the loss, where the model tells it: a LiteRT file does not. */
export function losses({ support_loss_before: before, support_loss_after: after }, words) {
  return before ? ` ${words}: ${before[0].toFixed(3)} before, ${after[0].toFixed(3)} after.` : "";
}

/** Shows an error in an element; what was only overtaken by a newer request says nothing. */
export function show(element, error) {
  if (error.name === "AbortError") return;
  if (!(error instanceof PlaygroundError)) console.error(error);
  element.textContent = error instanceof PlaygroundError ? error.message : `The page has a bug: ${error}`;
}
