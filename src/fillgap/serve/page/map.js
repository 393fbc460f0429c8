"use strict";
// The map: a sample of both modalities, the query, and what was found.

const Atlas = (() => {
  const NAMESPACE = "http://www.w3.org/2000/svg";
  const svg = document.getElementById("map");
  let data = null, stage = "raw", answer = null;

  const kind = modality => modality === "image+text" ? "both" : modality;
  const at = place => `translate(${place[0]}px, ${-place[1]}px)`;
  const mapOf = name => name === "raw" || !data.points.aligned ? "raw" : "aligned";

  function element(name, attributes) {
    const node = document.createElementNS(NAMESPACE, name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    return node;
  }

  function load(loaded) {
    data = loaded;
    data.modalities.forEach((modality, i) => {
      const dot = element("circle", { r: 0.011, class: `point ${kind(modality)}` });
      dot.style.transform = at(data.points.raw[i] || [0, 0]);
      svg.append(dot);
    });
    draw();
  }

  function draw() {
    if (!data) return;
    const points = data.points[mapOf(stage)];
    svg.querySelectorAll(".point").forEach((dot, i) => { dot.style.transform = at(points[i]); });
    svg.querySelectorAll(".found, .asking").forEach(node => node.remove());
    if (!answer) return;
    const places = answer.places[mapOf(stage)] || {};
    for (const hit of stage === "raw" ? answer.raw : answer.chosen) {
      if (!places[hit.id]) continue;
      const dot = element("circle", { r: 0.02, class: `found ${kind(hit.modality)}` });
      dot.style.transform = at(places[hit.id]);
      svg.append(dot);
    }
    const place = answer.query_place[mapOf(stage)];
    if (place) {
      const cross = element("path", { d: "M-.035-.035L.035.035M-.035.035L.035-.035", class: "asking" });
      cross.style.transform = at(place);
      svg.append(cross);
    }
  }

  return {
    load,
    show(newStage, newAnswer) { stage = newStage; answer = newAnswer; draw(); },
    kind,
    isAligned: () => data && mapOf(stage) === "aligned",
  };
})();
