// Drawings of numbers: the lines in the tiles and the histogram of latencies.

/** A line of the last points over a fill, as wide as its place. */
function sparkline(points, label) {
  const [width, height] = [160, 36];
  const most = Math.max(...points, 1e-9);
  const step = width / (Math.max(30, points.length) - 1);
  const start = width - (points.length - 1) * step;
  const at = (point, i) => `${(start + i * step).toFixed(1)},${(height - 2 - (point / most) * (height - 5)).toFixed(1)}`;
  const line = points.map(at).join(" ");
  return svg("svg", { viewBox: `0 0 ${width} ${height}`, class: "spark", role: "img", "aria-label": label, preserveAspectRatio: "none" },
    svg("polygon", { points: `${start.toFixed(1)},${height} ${line} ${width},${height}` }),
    svg("polyline", { points: line, "vector-effect": "non-scaling-stroke" }));
}

const TILES = [
  { id: "calls", title: "Calls", now: () => rate(newest("calls")), foot: (s) => `${whole(measures(s).calls)} in all`, line: "calls" },
  { id: "events", title: "Events published", now: () => rate(newest("events")), foot: (s) => `${whole(measures(s).events)} in all`, line: "events" },
  { id: "delivered", title: "Events delivered", now: () => rate(newest("delivered")), foot: (s) => `${whole(measures(s).delivered)} in all`, line: "delivered" },
  { id: "bytes", title: "Bytes in and out", now: () => (newest("bytes") === null ? "–" : `${bytes(newest("bytes"))}/s`), foot: (s) => `${bytes(measures(s).bytes)} in all`, line: "bytes" },
  { id: "errors", title: "Failed calls", now: () => rate(newest("errors")), foot: (s) => `${whole(measures(s).errors)} in all`, line: "errors", bad: true },
  { id: "open", title: "Open calls", now: (s) => whole(s.status.totals && s.status.totals.open), foot: (s) => `${many(whole((s.status.levels || {}).connections), "connection")}` },
];

function drawTiles(sample) {
  const place = byId("tiles");
  if (!place.children.length) {
    place.append(...TILES.map((tile) => html("article", { class: `tile ${tile.bad ? "bad" : ""}`, id: `tile-${tile.id}` },
      html("h2", {}, tile.title), html("p", { class: "now" }), html("div", { class: "line" }), html("p", { class: "foot" }))));
  }
  TILES.forEach((tile, i) => {
    const [, now, line, foot] = place.children[i].children;
    setText(now, tile.now(sample));
    setText(foot, tile.foot(sample));
    const points = tile.line && store.history[tile.line];
    line.replaceChildren(...(points && points.length > 1 ? [sparkline(points, `${tile.title} a second, the last ${points.length} seconds`)] : []));
  });
}

/** The histograms of all rows in one. */
function merged(rows) {
  const sum = new Map();
  for (const row of rows) for (const [upper, count] of row.histogram || []) sum.set(upper, (sum.get(upper) || 0) + count);
  return [...sum].sort((a, b) => a[0] - b[0]);
}

/** The upper end of the bucket in which this part of the calls ends. */
function quantile(histogram, part) {
  const wanted = histogram.reduce((sum, [, count]) => sum + count, 0) * part;
  let seen = 0;
  for (const [upper, count] of histogram) {
    seen += count;
    if (seen >= wanted && count) return upper;
  }
  return null;
}

const own = (name) => name.startsWith("sys.") || name === "rob";

function drawLatency(sample) {
  const select = byId("latency-of");
  const rows = listOf(sample, "objects");
  const measured = rows.filter((row) => (row.histogram || []).length);
  const names = ["", ...measured.slice(0, 60).map((row) => row.name)];
  const wanted = select.value;
  if (wanted && !names.includes(wanted)) names.push(wanted);
  if (names.join("\n") !== select.dataset.names) {
    select.dataset.names = names.join("\n");
    select.replaceChildren(...names.map((name) => html("option", { value: name }, name ? cut(name, 40) : "all objects")));
    select.value = wanted;
  }
  const one = rows.find((row) => row.name === select.value);
  const chosen = select.value ? [one].filter(Boolean) : measured.filter((row) => !own(row.name));
  const histogram = merged(chosen);
  const told = (name, part) => (one ? one[name] : quantile(histogram, part));
  const most = chosen.reduce((most, row) => Math.max(most, row.max_us ?? 0), 0);
  const quantiles = [["p50", told("p50_us", 0.5)], ["p90", told("p90_us", 0.9)], ["p99", told("p99_us", 0.99)], ["max", histogram.length ? most : null]];
  byId("quantiles").replaceChildren(...quantiles.map(([name, value]) => html("div", { class: name }, html("dt", {}, name), html("dd", {}, micros(value)))));
  byId("histogram").replaceChildren(drawHistogram(histogram, quantiles));
}

/** Bars over a logarithmic scale, eight to a decade, and lines at the quantiles. */
function drawHistogram(histogram, quantiles) {
  const [width, height, floor] = [420, 190, 160];
  const calls = histogram.reduce((sum, [, count]) => sum + count, 0);
  if (!calls) return html("p", { class: "empty" }, "No call has been answered yet.");
  const place = (us) => Math.log10(Math.max(1, us)) * 8;
  const bars = new Map();
  // The broker's buckets have other widths than the bars: each is shared out among the bars that it lies in.
  let below = 0;
  for (const [upper, count] of histogram) {
    const [from, to] = [place(Math.max(below, upper / 1.35)), place(upper)];
    below = upper;
    for (let bar = Math.ceil(from + 1e-9); bar <= Math.ceil(to - 1e-9); bar += 1) {
      const part = to > from ? (Math.min(bar, to) - Math.max(bar - 1, from)) / (to - from) : 1;
      bars.set(bar, (bars.get(bar) || 0) + count * part);
    }
    if (to <= from) bars.set(Math.ceil(to), (bars.get(Math.ceil(to)) || 0) + count);
  }
  const ends = [...bars.keys()];
  const first = Math.floor((Math.min(...ends) - 1) / 8) * 8;
  const last = Math.max(Math.ceil(Math.max(...ends) / 8) * 8, first + 16);
  const x = (at) => ((Math.min(last, Math.max(first, at)) - first) / (last - first)) * (width - 24) + 12;
  const most = Math.max(...bars.values());
  const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, class: "histogram", role: "img", "aria-label": `${whole(calls)} calls by latency, logarithmic; ${quantiles.map(([n, v]) => `${n} ${micros(v)}`).join(", ")}` });
  for (let decade = first; decade <= last; decade += 8) {
    drawing.append(svg("line", { x1: x(decade), x2: x(decade), y1: 14, y2: floor, class: "grid" }),
      svg("text", { x: x(decade), y: floor + 18, class: "tick", "text-anchor": decade === first ? "start" : decade === last ? "end" : "middle" }, micros(10 ** (decade / 8)).replace(".0", "")));
  }
  for (const [end, count] of bars) {
    const tall = Math.max(1.5, (count / most) * (floor - 26));
    drawing.append(svg("rect", { x: x(end - 1) + 1, width: Math.max(1, x(end) - x(end - 1) - 2), y: floor - tall, height: tall, rx: 2, class: "bar" },
      svg("title", {}, `up to ${micros(10 ** (end / 8))}: about ${whole(Math.round(count))}`)));
  }
  drawing.append(svg("line", { x1: 0, x2: width, y1: floor, y2: floor, class: "axis" }));
  // Labels that would lie upon one another stand side by side, above the middle of their lines.
  const labels = [];
  for (const [name, value] of quantiles.slice(0, 3)) {
    if (value === null || value === undefined) continue;
    const at = x(place(value));
    drawing.append(svg("line", { x1: at, x2: at, y1: 14, y2: floor, class: `mark ${name}` }));
    const last = labels[labels.length - 1];
    if (last && at - last.at < 14 * last.names.length + 16) {
      last.at = (last.at * last.names.length + at) / (last.names.length + 1);
      last.names.push(name);
    } else labels.push({ at, names: [name] });
  }
  for (const { at, names } of labels) {
    const half = 14 * names.length;
    drawing.append(svg("text", { x: Math.min(width - half, Math.max(half, at)), y: 10, class: names.length > 1 ? "tick" : `tick ${names[0]}`, "text-anchor": "middle" }, names.join(" ")));
  }
  return drawing;
}
