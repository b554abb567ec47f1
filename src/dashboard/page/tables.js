// The tables: sorted, filtered, and changed in place, so that a row that is read or copied stays where it is.

const ROWS = 250;
const who = (owner) => (owner ? owner.name || (owner.pid ? `pid ${owner.pid}` : `peer ${owner.peer}`) : "–");
const number = (title, value, show, more) => ({ title, value, show: show || whole, numeric: true, ...more });
const word = (title, value, more) => ({ title, value, show: (text) => (text === null || text === undefined || text === "" ? "–" : String(text)), ...more });
const grows = (table, title, field, show) => number(title, (row) => perSecond(table, row, field), show || rate);

const TABLES = [
  { id: "objects", title: "Objects", key: objectKey, sort: 3, columns: [
    word("Object", (row) => row.name, { head: true }), word("Owner", (row) => who(row.owner)),
    number("Members", (row) => row.members), grows("objects", "Calls/s", "calls"), number("Calls", (row) => row.calls),
    number("Errors", (row) => row.errors, whole, { alarm: (row) => row.errors > 0 }), number("Refused", (row) => row.refused, whole, { alarm: (row) => row.refused > 0 }), number("Open", (row) => row.open), number("Queued", (row) => row.queued),
    number("p50", (row) => row.p50_us, micros), number("p90", (row) => row.p90_us, micros), number("p99", (row) => row.p99_us, micros), number("max", (row) => row.max_us, micros)] },
  { id: "topics", title: "Topics", key: topicKey, sort: 4, columns: [
    word("Object", (row) => row.object, { head: true }), word("Topic", (row) => row.topic), word("Kind", (row) => (row.pattern ? "pattern" : "topic")),
    number("Subscribers", (row) => row.subscribers), grows("topics", "Events/s", "events"), number("Events", (row) => row.events)] },
  { id: "connections", title: "Connections", key: peerKey, sort: 0, up: true, columns: [
    number("Peer", (row) => row.peer, (n) => String(n), { head: true }), word("Name", (row) => row.name), word("Proven", (row) => row.principal), number("PID", (row) => row.pid, (n) => (n ? String(n) : "–")),
    number("User", (row) => row.uid, (n) => (n === null || n === undefined ? "–" : String(n))), word("Standing", (row) => row.standing, { alarm: (row) => row.standing !== "ok" }),
    number("Age", (row) => row.age_ms, span), grows("connections", "In/s", "bytes_in", (n) => (n === null ? "–" : `${bytes(n)}`)), grows("connections", "Out/s", "bytes_out", (n) => (n === null ? "–" : `${bytes(n)}`)),
    number("Queue", (row) => row.queued_bytes, bytes), number("Owes", (row) => row.owes), number("Objects", (row) => row.objects), number("Subs", (row) => row.subscriptions),
    number("Missed", (row) => row.missed, whole, { alarm: (row) => row.missed > 0 })] },
  { id: "recent", title: "Recent", key: (row) => row.key, sort: 0, columns: [
    number("Time", (row) => row.unix_ms, clock, { head: true }), word("What", (row) => row.kind), number("Times", (row) => row.count || 1), number("Peer", (row) => row.peer, (n) => (n ? String(n) : "–")),
    number("PID", (row) => row.pid, (n) => (n ? String(n) : "–")), word("Text", (row) => row.text, { wide: true })] },
];
let open = "objects";

function rowsOf(sample, table) {
  if (table.id !== "recent") return listOf(sample, table.id);
  return (sample.status.recent || []).map((row) => ({ ...row, key: `${row.kind} ${row.peer} ${row.pid} ${row.text}` }));
}

/** Makes the tabs and the empty tables once. */
function makeTables() {
  const tabs = document.querySelector(".tabs");
  for (const table of TABLES) {
    table.tab = html("button", { type: "button", role: "tab", id: `tab-${table.id}`, "aria-controls": `panel-${table.id}`, "aria-selected": "false", tabindex: -1 }, table.title, html("span", { class: "count" }));
    table.tab.addEventListener("click", () => show(table.id));
    tabs.append(table.tab);
    table.heads = table.columns.map((column, i) => {
      const button = html("button", { type: "button" }, column.title);
      button.addEventListener("click", () => {
        table.up = table.sort === i ? !table.up : !column.numeric;
        table.sort = i;
        drawAll();
      });
      return html("th", { scope: "col", class: column.numeric ? "numeric" : "" }, button);
    });
    table.body = html("tbody");
    table.rows = new Map();
    table.note = html("p", { class: "empty" });
    table.panel = html("div", { role: "tabpanel", id: `panel-${table.id}`, "aria-labelledby": `tab-${table.id}`, tabindex: 0, class: "panel" },
      html("table", {}, html("thead", {}, html("tr", {}, ...table.heads)), table.body), table.note);
    byId("panels").append(table.panel);
  }
  tabs.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const at = (TABLES.findIndex((table) => table.id === open) + step + TABLES.length) % TABLES.length;
    show(TABLES[at].id);
    TABLES[at].tab.focus();
  });
  byId("filter").addEventListener("input", drawAll);
  show(open);
}

function show(id) {
  open = id;
  for (const table of TABLES) {
    table.tab.setAttribute("aria-selected", String(table.id === id));
    table.tab.tabIndex = table.id === id ? 0 : -1;
    table.panel.hidden = table.id !== id;
  }
  drawAll();
}

function compare(a, b) {
  if (a === b) return 0;
  if (a === null || a === undefined) return -1;
  if (b === null || b === undefined) return 1;
  return typeof a === "number" && typeof b === "number" ? a - b : String(a) < String(b) ? -1 : 1;
}

function drawTables(sample) {
  const wanted = byId("filter").value.trim().toLowerCase();
  for (const table of TABLES) {
    const all = rowsOf(sample, table);
    setText(table.tab.lastChild, String(all.length + ((sample[table.id] || {}).left_out || 0)));
    if (table.id !== open) continue;
    const found = all.filter((row) => !wanted || table.columns.some((column) => column.show(column.value(row)).toLowerCase().includes(wanted)));
    const by = table.columns[table.sort];
    const seen = (row) => (by.numeric ? by.value(row) : clean(by.show(by.value(row))));
    found.sort((a, b) => (table.up ? 1 : -1) * compare(seen(a), seen(b)) || compare(table.key(a), table.key(b)));
    table.heads.forEach((head, i) => {
      if (i === table.sort) head.setAttribute("aria-sort", table.up ? "ascending" : "descending");
      else head.removeAttribute("aria-sort");
    });
    fill(table, found.slice(0, ROWS));
    const hidden = found.length - Math.min(found.length, ROWS) + (wanted ? 0 : (sample[table.id] || {}).left_out || 0);
    setText(table.note, hidden ? `and ${hidden} more` : found.length ? "" : wanted ? "No row has this text." : "Nothing yet.");
  }
}

function fill(table, rows) {
  const keys = new Set(rows.map(table.key));
  for (const [key, row] of table.rows) if (!keys.has(key)) { row.remove(); table.rows.delete(key); }
  let before = null;
  for (const row of rows) {
    const key = table.key(row);
    let line = table.rows.get(key);
    if (!line) {
      line = html("tr", {}, ...table.columns.map((column) => html(column.head ? "th" : "td", { scope: column.head ? "row" : null, class: `${column.numeric ? "numeric" : "word"} ${column.wide ? "wide" : ""}` })));
      table.rows.set(key, line);
    }
    table.columns.forEach((column, i) => {
      setText(line.children[i], column.show(column.value(row)));
      line.children[i].classList.toggle("alarm", Boolean(column.alarm && column.alarm(row)));
    });
    const after = before ? before.nextSibling : table.body.firstChild;
    if (after !== line) table.body.insertBefore(line, after);
    before = line;
  }
}
