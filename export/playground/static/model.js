// What the metadata of a model says about it.

import { PlaygroundError } from "./errors.js";

/**
 * @param {object} metadata the answer of the metadata endpoint.
 * @returns {{kind: "images", ways: number, shape: number[]} | {kind: "curve", hasInitialState: boolean}}
 *   `shape` is height, width and channels.
 */
export function describe(metadata) {
  const signatures = metadata?.metadata?.signature_def?.signature_def ?? {};
  const missing = ["adapt", "predict"].filter((name) => !(name in signatures));
  if (missing.length === 2 && "support_inputs" in (signatures.serving_default?.inputs ?? {})) {
    throw new PlaygroundError(
      "The playground adapts once and asks later. This model adapts to the queries too, so a task is asked whole: ask " +
        "it with python -m export.client.predict.",
    );
  }
  if (missing.length) {
    throw new PlaygroundError(
      `This model has no signature ${missing.join(" and ")}: it is not an export of cml_tf (python -m export.savedmodel).`,
    );
  }
  if (!("support_inputs" in signatures.adapt.inputs)) {
    throw new PlaygroundError(
      "The playground shows classifiers of images and regressions. This model classifies nodes of a graph: ask it " +
        "with python -m export.client.predict --graph=FILE.npz.",
    );
  }
  const example = sizes(signatures.adapt.inputs.support_inputs).slice(2);
  const { probabilities, predictions } = signatures.predict.outputs;
  if (probabilities && example.length === 3 && [1, 3].includes(example[2])) {
    return { kind: "images", ways: sizes(probabilities)[2], shape: example };
  }
  if (predictions && sizes(predictions)[2] === 1 && example.length === 1 && example[0] === 1) {
    return { kind: "curve", hasInitialState: "initial_state" in signatures };
  }
  throw new PlaygroundError(
    "The playground shows classifiers of grey or colour images, and regressions from one number to one number. " +
      `This model ${probabilities ? "classifies" : "predicts from"} examples of shape [${example.join(", ")}].`,
  );
}

/** The same of a LiteRT file, from the JSON file beside it. */
export function describeFile(facts) {
  const { problem, inputs } = facts;
  if (problem.kind === "classification" && inputs.shape.length === 3 && [1, 3].includes(inputs.shape[2])) {
    return { kind: "images", ways: problem.outputs, shape: inputs.shape, exactly: facts.support };
  }
  if (problem.kind === "regression" && problem.outputs === 1 && inputs.shape.length === 1 && inputs.shape[0] === 1) {
    return { kind: "curve", hasInitialState: false, here: true };
  }
  throw new PlaygroundError(
    "The playground shows classifiers of grey or colour images, and regressions from one number to one number. " +
      `This file has a ${problem.kind} of examples of shape [${inputs.shape.join(", ")}].`,
  );
}

function sizes(tensor) {
  return tensor.tensor_shape.dim.map((axis) => Number(axis.size));
}
