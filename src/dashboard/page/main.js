// The page itself: what is wrong, what state it is in, and the loop that keeps it up to date.

/** `n` of something, in the right number. */
const many = (n, one, more) => `${n} ${n === "1" ? one : more || `${one}s`}`;

const TROUBLES = [
  ["panics", "bad", (n) => `${many(n, "panic")} of a core actor, survived`],
  ["protocol_errors", "warn", (n) => `${many(n, "connection")} ended by a protocol error`],
  ["denied", "warn", (n) => `${many(n, "request")} denied by the policy`],
  ["unproven_peers", "warn", (n) => `${many(n, "connection")} refused: no proof, or a wrong one`],
  ["connections_refused", "warn", (n) => `${many(n, "connection")} refused or ended in their handshake`],
  ["vanished", "warn", (n) => `${many(n, "peer")} vanished without a word`],
  ["calls_unrouted", "note", (n) => `${many(n, "call")} found no object`],
  ["calls_refused", "warn", (n) => `${many(n, "call")} refused before an owner had them`],
  ["one_way_dropped", "warn", (n) => `${many(n, "call")} without reply dropped: a full queue`],
  ["events_missed", "warn", (n) => `${many(n, "event")} missed by slow subscribers`],
  ["holds", "note", (n) => `${many(n, "time")} a publisher was held back for a slow subscriber`],
  ["lagging", "warn", (n) => `${many(n, "time")} a subscriber was declared lagging`],
  ["services_failed", "warn", (n) => `${many(n, "start")} of services failed`],
  ["accept_failures", "bad", (n) => `${many(n, "accept")} failed for lack of descriptors or memory`],
  ["turned_away", "bad", (n) => `${many(n, "client")} turned away: no descriptor left`],
  ["lost_logs", "warn", (n) => `${many(n, "line")} of the log lost`],
];

function drawHealth(sample) {
  const items = [];
  const add = (kind, text, more) => items.push(html("li", { class: kind }, html("span", { class: "text" }, text), more ? html("span", { class: "more" }, more) : ""));
  const restarts = sample.status.restarts || {};
  if (restarts.registry) add("bad", `Registry was restarted ${whole(restarts.registry)}×`);
  if (restarts.topic_hub) add("bad", `TopicHub was restarted ${whole(restarts.topic_hub)}×`);
  for (const row of listOf(sample, "connections").filter((row) => row.standing && row.standing !== "ok").slice(0, 8)) {
    const slow = row.standing === "lagging" ? "lags behind its events" : "holds publishers back";
    add("bad", `${row.name || `peer ${row.peer}`}${row.pid ? ` (pid ${row.pid})` : ""} ${slow}`, `${bytes(row.event_bytes)} wait`);
  }
  const metrics = sample.status.metrics || {};
  for (const [name, kind, text] of TROUBLES) {
    // Calls that found no object are among those that were refused, and have a line of their own.
    const of = (all) => (all[name] || 0) - (name === "calls_refused" ? all.calls_unrouted || 0 : 0);
    if (of(metrics) <= 0) continue;
    const grown = store.before ? of(metrics) - of(store.before.metrics) : 0;
    add(kind, text(whole(of(metrics))), grown > 0 ? `+${whole(grown)} now` : "");
  }
  if (!items.length) add("good", "Nothing: no panic, no restart, nobody too slow.");
  byId("health").replaceChildren(...items);
}

function drawCounters(sample) {
  const { metrics, levels, accounts } = sample.status;
  byId("budgets").replaceChildren(...Object.entries(accounts || {}).map(([name, budget]) => {
    const part = budget.limit ? Math.min(1, budget.held / budget.limit) : 0;
    const show = name.includes("bytes") ? bytes : whole;
    return html("div", { class: "budget" }, html("span", {}, name), html("meter", { min: 0, max: 1, high: 0.8, value: part, "aria-label": `${name}: ${show(budget.held)} of ${show(budget.limit)}` }), html("span", { class: "numeric" }, `${show(budget.held)} of ${show(budget.limit)}`));
  }));
  const all = [...Object.entries(levels || {}).map(([name, value]) => [`levels.${name}`, value]), ...Object.entries(metrics || {})];
  byId("counters").replaceChildren(...all.map(([name, value]) => html("div", { class: value ? "" : "zero" }, html("dt", {}, name), html("dd", {}, whole(value)))));
}

function drawFacts(sample) {
  const status = sample.status;
  const own = status.process || {};
  const before = store.before && store.before.process;
  const busy = before && own.cpu_us && store.seconds > 0 ? Math.max(0, own.cpu_us - before.cpu_us) / (1e6 * store.seconds) : null;
  const used = [own.resident_bytes ? bytes(own.resident_bytes) : "", busy === null ? "" : `${Math.round(busy * 100)} % of a processor`, own.open_files ? `${whole(own.open_files)} of ${whole(own.open_files_limit)} files` : ""];
  const parts = [`version ${status.version}`, status.pid ? `pid ${status.pid}` : "", `up ${span(status.uptime_ms)}`, `epoch ${String(status.epoch).slice(0, 8)}`, ...used, ...(status.endpoints || [])];
  setText(byId("facts"), parts.filter(Boolean).join("  ·  "));
  byId("facts").title = clean((status.endpoints || []).join("\n"));
}

function drawAll() {
  const sample = store.sample;
  if (!sample) return;
  drawFacts(sample);
  drawTiles(sample);
  drawGraph(sample);
  drawLatency(sample);
  drawHealth(sample);
  drawTables(sample);
  if (document.querySelector(".counters").open) drawCounters(sample);
  document.body.dataset.drawn = String(Number(document.body.dataset.drawn || 0) + 1);
}

let paused = false;
let held = null;
const STATES = { waiting: "connecting…", live: "live", polling: "live, by polling", paused: "paused", gone: "broker gone" };

function setState(state, banner) {
  const shown = paused && (state === "live" || state === "polling") ? "paused" : state;
  byId("state").dataset.state = shown;
  setText(byId("state"), STATES[shown]);
  byId("banner").hidden = !banner;
  setText(byId("banner"), banner || "");
  document.body.classList.toggle("stale", state === "gone");
}

function arrived(sample, state) {
  if (paused) { held = sample; setState(state); return; }
  take(sample);
  drawAll();
  setState(state, store.restarted ? "The broker was started again; all counts begin anew." : "");
}

function gone(error) {
  const since = store.at ? ` What is shown is of ${clock(store.at)}.` : "";
  setState("gone", `The broker does not answer (${error.message || error}).${since} Trying again…`);
}

const pause = (ms) => new Promise((resume) => setTimeout(resume, ms));

/** The stream as long as there is one; else the questions; a pause that grows while nobody answers. */
async function run() {
  let failures = 0;
  for (;;) {
    try {
      await stream((event, data) => {
        if (event === "sample") { failures = 0; arrived(data, "live"); } else gone(data.error || "trouble");
      });
    } catch (broken) {
      failures += 1;
      try {
        // Somebody may have cut the stream only: a proxy that holds answers back, say.
        if (failures > 1) {
          for (let turn = 0; turn < 30; turn += 1) {
            arrived(await poll(), "polling");
            failures = 1;
            await pause(1000);
          }
        }
      } catch (error) {
        gone(failures > 1 ? error : broken);
      }
      await pause(Math.min(5000, 250 * 2 ** Math.min(failures, 5)));
    }
  }
}

function start() {
  makeTables();
  byId("pause").addEventListener("click", () => {
    paused = !paused;
    byId("pause").setAttribute("aria-pressed", String(paused));
    setText(byId("pause"), paused ? "Resume" : "Pause");
    if (!paused && held) { take(held); held = null; drawAll(); }
    setState(byId("state").dataset.state === "gone" ? "gone" : "live", byId("banner").hidden ? "" : byId("banner").textContent);
  });
  const themes = ["system", "light", "dark"];
  byId("theme").addEventListener("click", () => {
    const next = themes[(themes.indexOf(document.documentElement.dataset.theme || "system") + 1) % themes.length];
    document.documentElement.dataset.theme = next;
    setText(byId("theme"), `◐ ${next}`);
  });
  byId("latency-of").addEventListener("change", drawAll);
  document.querySelector(".counters").addEventListener("toggle", drawAll);
  for (const link of document.querySelectorAll("a[data-to]")) link.setAttribute("href", link.dataset.to);
  // Where a token is needed, a link cannot show it.
  byId("also").hidden = Boolean(token);
  // The address stays as it is: the token is in it.
  document.querySelector(".skip").addEventListener("click", (event) => {
    event.preventDefault();
    byId("tables").focus();
  });
  let width = 0;
  new ResizeObserver(() => {
    if (byId("graph").clientWidth === width) return;
    width = byId("graph").clientWidth;
    drawAll();
  }).observe(byId("graph"));
  run();
}

start();
