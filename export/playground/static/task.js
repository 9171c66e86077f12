// One task: a model adapts to examples, and its state answers queries.

/**
 * Adapts to examples; gives the outputs of `adapt`, and of them the state that `ask` wants.
 * @param {import("./rest.js").Rest} rest
 * @param {{picture: Array, label: number}[]} examples
 */
export async function adapt(rest, examples) {
  const outputs = await rest.predict("adapt", {
    support_inputs: [examples.map(({ picture }) => picture)],
    support_labels: [examples.map(({ label }) => label)],
  });
  const { adapted_state, model_fingerprint, adapted_length } = outputs;
  // Only states that grow with the examples come with a length.
  const state = { adapted_state, model_fingerprint, ...(adapted_length && { adapted_length }) };
  return { outputs, state };
}

/** The outputs of `predict` for these pictures. */
export async function ask(rest, state, pictures, signal) {
  return rest.predict("predict", { ...state, query_inputs: [pictures] }, signal);
}
