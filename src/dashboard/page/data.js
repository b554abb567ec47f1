// What is known of the broker: the newest sample, the one before, and what happened in the last two minutes.

const KEPT = 120;
const store = { sample: null, before: null, seconds: 0, at: 0, restarted: false, history: {} };

const listOf = (sample, name) => (sample && sample[name] && sample[name][name]) || [];
const objectKey = (row) => row.name;
const topicKey = (row) => `${row.pattern ? "p" : "t"}\u0000${row.object}\u0000${row.topic}`;
const peerKey = (row) => String(row.peer);
const KEYS = { objects: objectKey, topics: topicKey, connections: peerKey };

/** What the sample says once and is drawn over time. */
function measures(sample) {
  const metrics = sample.status.metrics || {};
  const totals = sample.status.totals || {};
  return {
    calls: totals.calls ?? metrics.calls_routed ?? 0,
    errors: totals.errors ?? 0,
    events: metrics.events_published ?? 0,
    delivered: metrics.events_delivered ?? 0,
    missed: metrics.events_missed ?? 0,
    bytes: (metrics.bytes_in ?? 0) + (metrics.bytes_out ?? 0),
  };
}

/** Takes a sample in. Rates are those between it and the one before, as the broker's clock tells. */
function take(sample) {
  const old = store.sample;
  const same = old && old.status.epoch === sample.status.epoch;
  store.restarted = Boolean(old && !same);
  const seconds = same ? (sample.status.uptime_ms - old.status.uptime_ms) / 1000 : 0;
  if (same && seconds < 0.05) return;
  if (!same) store.history = {};
  store.before = same ? index(old) : null;
  store.seconds = seconds;
  store.sample = sample;
  store.at = Date.now();
  if (!same) return;
  const [now, then] = [measures(sample), measures(old)];
  for (const name of Object.keys(now)) {
    const points = (store.history[name] ||= []);
    points.push(Math.max(0, now[name] - then[name]) / seconds);
    if (points.length > KEPT) points.shift();
  }
}

function index(sample) {
  const tables = { measures: measures(sample), metrics: sample.status.metrics || {}, process: sample.status.process || {} };
  for (const [name, key] of Object.entries(KEYS)) {
    tables[name] = new Map(listOf(sample, name).map((row) => [key(row), row]));
  }
  return tables;
}

/** How much a row's number grows in a second; null as long as nobody can say. */
function perSecond(table, row, field) {
  const old = store.before && store.before[table].get(KEYS[table](row));
  if (!store.before || !(store.seconds > 0)) return null;
  return Math.max(0, (row[field] ?? 0) - (old ? old[field] ?? 0 : 0)) / store.seconds;
}
const newest = (name) => {
  const points = store.history[name];
  return points && points.length ? points[points.length - 1] : null;
};

/** Who owns or hears: connections of one process together. The broker's own actors are one process as well. */
function processes(sample) {
  const found = new Map();
  for (const row of listOf(sample, "connections")) {
    const key = row.local ? "local" : row.pid ? `pid ${row.pid}` : `peer ${row.peer}`;
    const process = found.get(key) || { key, pid: row.pid, local: row.local, names: new Set(), peers: [], rate: 0, worst: "ok" };
    if (row.name) process.names.add(row.name);
    process.peers.push(row.peer);
    process.rate += (perSecond("connections", row, "frames_in") ?? 0) + (perSecond("connections", row, "frames_out") ?? 0);
    if (row.standing === "lagging" || (row.standing === "holding" && process.worst === "ok")) process.worst = row.standing;
    found.set(key, process);
  }
  return [...found.values()];
}

// ---- how samples come: a stream, and without one a question every second

const token = location.hash.length > 16 ? location.hash.slice(1) : "";
const ask = (path, more) => fetch(path, { cache: "no-store", ...more, headers: token ? { Authorization: `Bearer ${token}` } : {} });

async function stream(onEvent) {
  const aborted = new AbortController();
  let silence = 0;
  const listen = () => {
    clearTimeout(silence);
    silence = setTimeout(() => aborted.abort(), 25000);
  };
  listen();
  try {
    const answer = await ask("/api/stream", { signal: aborted.signal });
    if (!answer.ok) throw new Error(((await answer.text()) || answer.statusText).trim());
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) throw new Error("the broker ended the stream");
      listen();
      text += value;
      for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
        const lines = text.slice(0, end).split("\n");
        text = text.slice(end + 2);
        const field = (name) => (lines.find((line) => line.startsWith(name)) || "").slice(name.length).trim();
        if (field("data:")) onEvent(field("event:"), JSON.parse(field("data:")));
      }
    }
  } finally {
    clearTimeout(silence);
    aborted.abort();
  }
}

async function poll() {
  const names = ["status", "connections", "objects", "topics"];
  const parts = await Promise.all(names.map(async (name) => {
    // A connection that is gone without a word would be waited for as long as the page is open.
    const answer = await ask(`/api/${name}${name === "status" ? "" : "?limit=250"}`, { signal: AbortSignal.timeout(15000) });
    if (!answer.ok) throw new Error((await answer.text()).trim());
    return [name, await answer.json()];
  }));
  return Object.fromEntries(parts);
}
