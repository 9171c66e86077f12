// Which example looks wrong, and which class needs another: what export.client.advice tells, at this page.

import { PlaygroundError } from "./errors.js";
import { judged } from "./probabilities.js";
import { adapt, ask } from "./task.js";

/**
 * Leaves out each example once, one of each class at a time, and asks a model that adapted to others what it takes it for.
 * @param {import("./rest.js").Rest} rest
 * @param {{picture: Array, label: number}[]} examples labels count from 0.
 * @param {(done: number, all: number) => void} progress
 * @returns {Promise<({own: number, takenFor: number} | null)[]>} one an example: the probability of its own label, and
 *   the most probable one; null where its class has no other example.
 */
export async function leaveOneOut(rest, examples, progress) {
  const counts = countsOf(examples);
  if (examples.length < 3 || counts.length < 2) {
    throw new PlaygroundError("Add at least three examples of two classes first.");
  }
  const verdicts = examples.map(() => null);
  const rounds = roundsOf(examples, counts);
  if (!rounds.length) throw new PlaygroundError("Add a second example to a class first: one that is alone cannot be left out.");
  for (const [done, places] of rounds.entries()) {
    progress(done, rounds.length);
    const { state } = await adapt(rest, examples.filter((_, other) => !places.includes(other)));
    const outputs = await ask(rest, state, places.map((place) => examples[place].picture));
    for (const [query, place] of places.entries()) {
      const [values] = judged(outputs, counts.length, query);
      verdicts[place] = { own: values[examples[place].label], takenFor: values.indexOf(Math.max(...values)) };
    }
  }
  return verdicts;
}

/** What is left out together: the first example of every class, then the second of every class that has one, ... */
function roundsOf(examples, counts) {
  const rounds = [];
  const met = counts.map(() => 0);
  examples.forEach(({ label }, place) => {
    if (counts[label] > 1) (rounds[met[label]++] ??= []).push(place);
  });
  return rounds;
}

/**
 * The same in words.
 * @param {{picture: Array, label: number}[]} examples
 * @param {({own: number, takenFor: number} | null)[]} verdicts
 * @param {string[]} names of the classes.
 */
export function advice(examples, verdicts, names) {
  const places = [...examples.keys()].filter((place) => verdicts[place]);
  const right = places.filter((place) => verdicts[place].takenFor === examples[place].label).length;
  const suspects = places.length - right;
  const look = suspects ? ` Look at ${suspects === 1 ? "the one that is" : `the ${suspects} that are`} marked.` : "";
  const weakest = names[weakestClass(examples, verdicts)];
  return `Left out in turn, ${right} of ${places.length} are taken for their class.${look} Another example would help most in ${weakest}.`;
}

/** A class with a single example, else the one that is recognised least. */
function weakestClass(examples, verdicts) {
  const counts = countsOf(examples);
  if (counts.includes(1)) return counts.indexOf(1);
  const sums = counts.map(() => 0);
  examples.forEach(({ label }, place) => (sums[label] += verdicts[place].own));
  const means = sums.map((sum, label) => sum / counts[label]);
  return means.indexOf(Math.min(...means));
}

function countsOf(examples) {
  const counts = [];
  for (const { label } of examples) counts[label] = (counts[label] ?? 0) + 1;
  return counts;
}
