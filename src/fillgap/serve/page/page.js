"use strict";
// One query at a time; whatever comes from the index is shown as text, never as markup.

const byId = id => document.getElementById(id);
const TITLES = { raw: "Raw cosine", aligned: "Aligned cosine", calibrated: "Aligned and calibrated" };
const K = 10;
let about = null, query = null, stage = null, modality = "", asked = 0;

function make(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

async function request(path, options) {
  const response = await fetch(path, options);
  const body = await response.json().catch(() => ({}));
  if (response.ok) return body;
  const detail = Array.isArray(body.detail)
    ? body.detail.map(one => `${one.loc.slice(1).join(".")}: ${one.msg}`).join("; ") : body.detail;
  throw new Error(detail || `The server answered ${response.status}.`);
}

function say(message) {
  byId("message").textContent = message;
  byId("message").hidden = !message;
}

// What is asked

async function run() {
  const number = ++asked;
  say("");
  if (!query) return;
  try {
    const answer = await (query.file ? askPicture() : askWords());
    if (number === asked) show(answer);
  } catch (error) {
    if (number !== asked) return;
    byId("results").hidden = true;
    Atlas.show(stage, null);
    say(error.message);
  }
}

function askWords() {
  const body = { k: K, stage, ...query.body };
  if (modality) body.modality = modality;
  return request("/api/search", {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
  });
}

function askPicture() {
  const parameters = new URLSearchParams({ k: K, stage });
  if (modality) parameters.set("modality", modality);
  if (query.text) parameters.set("text", query.text);
  return request(`/api/search/image?${parameters}`, { method: "POST", body: query.file });
}

function ask(next) {
  if (query && query.picture && query.file) URL.revokeObjectURL(query.picture);
  query = next;
  byId("preview").hidden = !next || !next.picture;
  if (next && next.picture) byId("preview").src = next.picture;
  byId("asked").hidden = !next;
  byId("what").textContent = next ? next.words : "";
  if (!next) {
    byId("results").hidden = true;
    byId("text").value = "";
    Atlas.show(stage, null);
  }
  return run();
}

const askText = text => ask({ words: `“${text}”`, body: { text } });

function askFile(file) {
  if (!file) return;
  const text = byId("text").value.trim();
  ask({ file, text, picture: URL.createObjectURL(file),
    words: text ? `${file.name} and “${text}”` : file.name });
}

function askLike(hit) {
  ask({ words: `Like ${nameOf(hit)}`, picture: hit.modality === "image" ? hit.thumbnail : null,
    body: { document: hit.id } });
}

// What was found

function show(answer) {
  byId("results").hidden = false;
  byId("chosen-title").textContent = TITLES[answer.stage];
  for (const list of ["raw", "chosen"]) {
    byId(`list-${list}`).replaceChildren(...answer[list].map(hit => row(hit, list, answer)));
    if (!answer[list].length) byId(`list-${list}`).append(make("li", "none", "Nothing is here."));
    byId(`share-${list}`).replaceChildren(...share(answer[list], answer.fair));
  }
  if (answer.unknown_words.length) {
    say(`The encoder does not know: ${answer.unknown_words.join(", ")}. The other words count.`);
  }
  Atlas.show(answer.stage, answer);
  describeMap();
}

const nameOf = hit => String(hit.payload.caption || hit.payload.name || hit.id);

function row(hit, list, answer) {
  const item = make("li", `hit ${Atlas.kind(hit.modality)}`);
  const button = make("button");
  button.type = "button";
  button.title = explain(hit);
  button.addEventListener("click", () => { askLike(hit); scrollTo({ top: 0, behavior: "smooth" }); });
  const picture = make("span", "picture");
  if (hit.thumbnail) {
    const image = make("img");
    image.src = hit.thumbnail;
    image.alt = "";
    picture.append(image);
  } else {
    picture.textContent = hit.modality === "text" ? "T" : "▣";
  }
  const words = make("span");
  words.append(make("span", "words", nameOf(hit)), kindOf(hit, list, answer));
  button.append(make("span", "rank", hit.rank), picture, words,
    make("span", "score", hit.score.toFixed(2)));
  item.append(button);
  return item;
}

function kindOf(hit, list, answer) {
  const kind = make("span", "kind", hit.modality);
  if (list === "chosen" && answer.stage !== "raw") {
    const place = hit.raw_rank ? `raw place ${hit.raw_rank}` : `raw place beyond ${answer.raw_depth}`;
    kind.append(make("span", "moved", ` · ${place}`));
  }
  return kind;
}

function explain(hit) {
  const parts = Object.entries(hit.explanation || {}).filter(([, value]) => value !== null)
    .map(([name, value]) => `${name} ${value.toFixed(3)}`);
  return `${parts.join(" · ")} · number ${hit.rank_in_modality} of its modality here. Find others like it.`;
}

function share(hits, fair) {
  if (!hits.length || modality) return [];
  const bar = make("div", "bar");
  bar.setAttribute("aria-hidden", "true");
  const words = [];
  for (const kind of Object.keys(fair)) {
    const n = hits.filter(hit => hit.modality === kind).length;
    const part = make("span", Atlas.kind(kind));
    part.style.width = `${100 * n / hits.length}%`;
    bar.append(part);
    const expected = (fair[kind] * hits.length).toFixed(1).replace(/\.0$/, "");
    words.push(`${n} ${{ image: "images", text: "texts" }[kind] || "of both"} (fair: ${expected})`);
  }
  return [make("div", "", words.join(" · ")), bar];
}

function describeMap() {
  byId("map-words").textContent = Atlas.isAligned()
    ? "Two principal components after alignment: images and texts share one cloud where it worked."
    : "Two principal components of the embeddings as the model gives them: a gap shows as two clouds.";
}

// The page

function choices(id, options, chosen, change) {
  options.forEach(([value, words]) => {
    const label = make("label", "", words), input = make("input");
    Object.assign(input, { type: "radio", name: id, value, checked: value === chosen });
    input.addEventListener("change", () => change(value));
    label.append(input);
    byId(id).append(label);
  });
}

function example(hit) {
  const chip = make("button", "chip", hit.thumbnail && hit.modality === "image" ? "" : nameOf(hit));
  chip.type = "button";
  if (hit.modality === "image" && hit.thumbnail) {
    const image = make("img");
    image.src = hit.thumbnail;
    image.alt = `Search by ${nameOf(hit)}`;
    chip.classList.add("picture");
    chip.append(image);
  }
  chip.addEventListener("click", () => {
    const words = hit.modality === "text" && about.encoder ? hit.payload.caption : null;
    if (!words) { askLike(hit); return; }
    byId("text").value = words;
    askText(words);
  });
  return chip;
}

function listen() {
  byId("query").addEventListener("submit", event => {
    event.preventDefault();
    const text = byId("text").value.trim();
    if (text) askText(text);
    else say("Type what to find, or drop a picture.");
  });
  byId("clear").addEventListener("click", () => { ask(null); byId("text").focus(); });
  byId("file").addEventListener("change", event => {
    askFile(event.target.files[0]);
    event.target.value = "";
  });
  addEventListener("dragover", event => { event.preventDefault(); byId("drop").classList.add("over"); });
  addEventListener("dragleave", () => byId("drop").classList.remove("over"));
  addEventListener("drop", event => {
    event.preventDefault();
    byId("drop").classList.remove("over");
    askFile(event.dataTransfer.files[0]);
  });
  addEventListener("paste", event => askFile(event.clipboardData.files[0]));
}

async function start() {
  listen();
  try {
    about = await request("/api/index");
    document.title = `${about.name} · fillgap`;
    byId("name").textContent = about.name;
    const counts = Object.entries(about.count).map(([kind, n]) =>
      `${n.toLocaleString("en")} ${{ image: "images", text: "texts" }[kind] || "documents of both"}`);
    byId("facts").textContent = counts.join(" and ") || "The index is empty.";
    byId("notes").textContent = [...about.notes, `fillgap ${about.version}`].join(" ");
    if (!about.encoder) {
      byId("drop").hidden = true;
      say("This index names no encoder: choose a document to find others like it.");
    }
    stage = about.stages[about.stages.length - 1];
    choices("stages", about.stages.map(name => [name, name]), stage,
      value => { stage = value; Atlas.show(stage, null); describeMap(); run(); });
    const kinds = Object.keys(about.count).map(kind =>
      [kind, { image: "images", text: "texts" }[kind] || "both in one"]);
    choices("kinds", [["", "everything"], ...kinds], "", value => { modality = value; run(); });
    byId("key-both").hidden = !("image+text" in about.count);
    byId("examples").replaceChildren(...about.examples.map(example));
    Atlas.load(await request("/api/map"));
    Atlas.show(stage, null);
    describeMap();
    const first = new URLSearchParams(location.search).get("q");
    if (first) { byId("text").value = first; await askText(first); }
  } catch (error) {
    say(error.message);
  }
  document.body.dataset.ready = "yes";
}

start();
