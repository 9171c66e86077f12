// Reads the page's address, asks the server what the model is, and shows the section for it.

import { Classifier } from "./classifier.js";
import { Device } from "./device.js";
import { PlaygroundError, show } from "./errors.js";
import { describe, describeFile } from "./model.js";
import { Regression } from "./regression.js";
import { Rest } from "./rest.js";

const notice = document.getElementById("notice");
const progress = document.getElementById("progress");

try {
  const file = document.querySelector('meta[name="litert-model"]')?.content;
  await (file ? startHere(file) : start(new URLSearchParams(location.search)));
} catch (error) {
  progress.textContent = "";
  document.getElementById("connection").open = true;
  show(notice, error);
}

async function start(parameters) {
  const [server, model] = ["server", "model"].map((name) => (parameters.get(name) ?? "").trim());
  document.getElementById("server").value = server;
  document.getElementById("model").value = model;
  if (!model) throw new PlaygroundError("No model chosen. Enter the name of the model on the server, and connect.");
  progress.textContent = "Asking the server about the model …";
  const rest = new Rest(origin(server), model);
  const description = describe(await rest.metadata());
  progress.textContent = `Connected to ${model} on ${rest.server || location.host}.`;
  present(description, rest, model);
}

async function startHere(file) {
  document.getElementById("connection").hidden = true;
  document.getElementById("lead").textContent =
    "This model learns a new task from your examples, within this page: nothing of them is sent anywhere.";
  progress.textContent = "Loading the model and its interpreter …";
  const device = await Device.open(file);
  const description = describeFile(device.facts);
  progress.textContent = `Loaded ${file}, which adapts to ${device.facts.support} examples.`;
  present(description, device, file);
}

function present(description, rest, model) {
  document.title = `${model}: few-shot playground`;
  const [id, Section] = description.kind === "images" ? ["classifier", Classifier] : ["regression", Regression];
  const section = document.getElementById(id);
  new Section(section, rest, description);
  section.hidden = false;
}

function origin(server) {
  if (!server) return "";
  if (!/^https?:\/\/[A-Za-z0-9.-]+(:[0-9]{1,5})?\/?$/.test(server)) {
    throw new PlaygroundError(`The server must be like http://host:8501, received ${server}.`);
  }
  return new URL(server).origin;
}
