// The picture of who is there: objects on the left, processes in the middle, topics on the right. What is wide is busy.

const SHOWN = 12;
const NODE = 28;
const PEN = document.createElement("canvas").getContext("2d");
const order = { object: new Map(), process: new Map(), topic: new Map() };
let chosen = null;

/** What is drawn: the busiest of each kind, and who of them belongs together. */
function graphOf(sample) {
  const all = processes(sample);
  const byPeer = new Map(all.flatMap((process) => process.peers.map((peer) => [peer, process])));
  const busiest = (items) => items.sort((a, b) => b.weight - a.weight || (a.key < b.key ? -1 : 1));
  const objects = busiest(listOf(sample, "objects").filter((row) => !own(row.name)).map((row) => {
    const now = perSecond("objects", row, "calls") ?? 0;
    return { kind: "object", key: row.name, label: row.name, now, weight: now * 1e6 + (row.calls || 0), unit: "calls", owner: row.owner && byPeer.get(row.owner.peer), more: row.members > 1 ? `${row.members} members` : row.owner ? "" : "nobody has it now", gone: !row.owner };
  }));
  const topics = busiest(listOf(sample, "topics").map((row) => {
    const now = perSecond("topics", row, "events") ?? 0;
    return { kind: "topic", key: topicKey(row), label: `${row.object} / ${row.topic}`, now, weight: now * 1e6 + (row.events || 0), unit: "events", heard: [...new Set((row.peers || []).map((peer) => byPeer.get(peer)).filter(Boolean))], more: row.pattern ? "pattern" : "" };
  }));
  const [fewObjects, fewTopics] = [objects.slice(0, SHOWN), topics.slice(0, SHOWN)];
  const linked = new Set([...fewObjects.map((it) => it.owner), ...fewTopics.flatMap((it) => it.heard)].filter(Boolean));
  const named = (process) => [...process.names].join(", ") || (process.local ? "inside the broker" : process.key);
  const namesakes = new Map();
  for (const process of all) namesakes.set(named(process), (namesakes.get(named(process)) || 0) + 1);
  // One of several with the same name is told from the others by its number.
  const called = (process) => (namesakes.get(named(process)) > 1 && process.pid ? `${named(process)} ${process.pid}` : named(process));
  const people = busiest(all.filter((process) => !process.local || linked.has(process)).map((process) => ({
    kind: "process", key: process.key, process, now: process.rate, unit: "frames", standing: process.worst,
    label: called(process),
    more: process.pid ? `pid ${process.pid}` : "", weight: (linked.has(process) ? 1e12 : 0) + process.rate * 1e3,
  })));
  const fewPeople = people.slice(0, SHOWN + 2);
  const at = new Map(fewPeople.map((it) => [it.process, it]));
  const edges = [];
  for (const it of fewObjects) if (at.has(it.owner)) edges.push({ from: it, to: at.get(it.owner), now: it.now, kind: "object" });
  for (const it of fewTopics) for (const process of it.heard) if (at.has(process)) edges.push({ from: at.get(process), to: it, now: it.now, kind: "topic" });
  return {
    columns: [fewObjects, fewPeople, fewTopics],
    hidden: [objects.length - fewObjects.length, people.length - fewPeople.length, topics.length - fewTopics.length],
    edges,
  };
}

/** Puts each node near those it belongs to: a few rounds of "the middle of my neighbours". Nodes that stay keep their order. */
function arrange({ columns, edges }) {
  columns.forEach((column) => {
    column.sort((a, b) => (order[a.kind].get(a.key) ?? 1e9) - (order[b.kind].get(b.key) ?? 1e9));
    column.forEach((it, i) => { it.at = i; });
  });
  const known = columns.every((column) => column.every((it) => order[it.kind].has(it.key)));
  for (let round = 0; !known && round < 6; round += 1) {
    for (const column of [columns[1], columns[0], columns[2]]) {
      const middle = new Map(column.map((it) => {
        const near = edges.filter((edge) => edge.from === it || edge.to === it).map((edge) => {
          const other = edge.from === it ? edge.to : edge.from;
          return (other.at + 0.5) / Math.max(1, columns.find((column) => column.includes(other)).length);
        });
        return [it, near.length ? near.reduce((a, b) => a + b) / near.length : 2];
      }));
      column.sort((a, b) => middle.get(a) - middle.get(b) || a.at - b.at);
      column.forEach((it, i) => { it.at = i; });
    }
  }
  columns.forEach((column) => {
    if (!column.length) return;
    const places = order[column[0].kind];
    places.clear();
    column.forEach((it) => places.set(it.key, it.at));
  });
}

function drawGraph(sample) {
  const place = byId("graph");
  const graph = graphOf(sample);
  arrange(graph);
  if (!graph.columns.some((column) => column.length)) {
    place.replaceChildren(html("p", { class: "empty" }, "Nobody is connected yet. Programs appear here as they register objects and subscribe to topics."));
    return;
  }
  const width = Math.max(340, Math.min(1100, place.clientWidth || 800));
  const narrow = width < 560;
  const gap = narrow ? 22 : Math.max(60, width * 0.13);
  const wide = (width - 2 * gap) / 3;
  const count = Math.max(...graph.columns.map((column, i) => column.length + (graph.hidden[i] > 0 ? 1 : 0)), 3);
  // Beside the cards on its right it is as high as they are; else as high as it must be.
  const beside = [...document.querySelectorAll(".latency, .health")].reduce((sum, card) => sum + card.offsetHeight, 0) - 54;
  const room = innerWidth > 1080 ? beside / count : 0;
  const ROW = Math.max(34, Math.min(50, room));
  const height = Math.max(count * ROW + 8, innerWidth > 1080 ? beside : 0);
  graph.columns.forEach((column, c) => {
    const lines = column.length + (graph.hidden[c] > 0 ? 1 : 0);
    const top = (height - lines * ROW) / 2;
    column.forEach((it) => Object.assign(it, { x: c * (wide + gap), y: top + it.at * ROW + (ROW - NODE) / 2, wide, column: c }));
    if (graph.hidden[c] > 0) column.hiddenAt = top + column.length * ROW + (ROW - NODE) / 2;
  });
  const focus = document.activeElement && document.activeElement.dataset && document.activeElement.dataset.key;
  const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, class: chosen ? "net chosen" : "net", role: "group", "aria-label": "Objects, the processes that own them, and the topics that processes hear" });
  for (const edge of graph.edges) drawing.append(drawEdge(edge));
  graph.columns.forEach((column, c) => {
    column.forEach((it) => drawing.append(drawNode(it, narrow, graph.edges)));
    if (graph.hidden[c] > 0) drawing.append(svg("text", { x: c * (wide + gap) + wide / 2, y: column.hiddenAt + 18, class: "rest", "text-anchor": "middle" }, `and ${graph.hidden[c]} more`));
  });
  place.replaceChildren(drawing);
  const again = focus && [...drawing.querySelectorAll("[data-key]")].find((it) => it.dataset.key === focus);
  if (again) again.focus({ preventScroll: true });
}

/** As much of the text as has room. */
function fitted(text, room) {
  PEN.font = "12.5px system-ui, sans-serif";
  const letters = [...text];
  let kept = letters.length;
  const shown = () => (kept < letters.length ? `${letters.slice(0, kept).join("")}…` : text);
  while (kept > 2 && PEN.measureText(shown()).width > room) kept -= 1;
  return shown();
}

const touches = (edge) => chosen && (idOf(edge.from) === chosen || idOf(edge.to) === chosen);
const idOf = (it) => `${it.kind} ${it.key}`;

function drawEdge(edge) {
  const [x1, x2] = [edge.from.x + edge.from.wide, edge.to.x];
  const [y1, y2] = [edge.from.y + 14, edge.to.y + 14];
  const bend = (x2 - x1) * 0.5;
  const thick = (1.2 + Math.min(5, Math.log10(1 + edge.now) * 1.3)).toFixed(1);
  const path = `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`;
  const group = svg("g", { class: `edge ${edge.kind} ${touches(edge) ? "near" : ""}` }, svg("path", { d: path, "stroke-width": thick }));
  if (edge.now > 0) group.append(svg("path", { d: path, class: edge.kind === "object" ? "flow" : "flow back", "stroke-width": thick }));
  return group;
}

function drawNode(it, narrow, edges) {
  const id = idOf(it);
  const near = chosen && (id === chosen || edges.some((edge) => touches(edge) && (edge.from === it || edge.to === it)));
  const told = it.now > 0 ? rate(it.now) : "";
  const room = it.wide - 20 - (told && !narrow ? told.length * 7.4 + 6 : 0);
  const long = `${it.label}${it.more ? ` (${it.more})` : ""}: ${it.kind}, ${rate(it.now)} ${it.unit}${it.standing && it.standing !== "ok" ? `, ${it.standing}` : ""}`;
  const group = svg("g", { class: `node ${it.kind} ${it.gone ? "gone" : ""} ${near ? "near" : ""} ${it.standing && it.standing !== "ok" ? "slow" : ""}`, tabindex: 0, role: "button", "aria-pressed": String(id === chosen), "aria-label": clean(long), "data-key": id, transform: `translate(${it.x.toFixed(1)} ${it.y.toFixed(1)})` },
    svg("title", {}, long),
    svg("rect", { width: it.wide.toFixed(1), height: 28, rx: 7 }),
    svg("rect", { width: 4, height: 28, rx: 2, class: "edge-mark" }),
    svg("text", { x: 11, y: 18.5 }, fitted(clean(it.label), room)));
  if (told && !narrow) group.append(svg("text", { x: it.wide - 8, y: 18.5, "text-anchor": "end", class: "now" }, told));
  const choose = () => {
    chosen = chosen === id ? null : id;
    const select = byId("latency-of");
    if (it.kind === "object" && [...select.options].some((option) => option.value === it.key)) select.value = chosen ? it.key : "";
    drawAll();
  };
  group.addEventListener("click", choose);
  group.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") { event.preventDefault(); choose(); }
  });
  return group;
}
