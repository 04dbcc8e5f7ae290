"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const [NAME, STATE, ROWS, BAD, SECONDS, START, END, TRIES, FILES, BYTES, HASH, ERROR, PHASES] =
    Array(13).keys();
  const ROW_HEIGHT = 28;
  const KINDS = {
    succeeded: "good", reused: "good", failed: "bad", cancelled: "bad",
    "missing model": "bad", "no input": "warn", running: "warn", "never ran": "bad",
  };
  const whole = new Intl.NumberFormat("en");
  const number = (value) => (value == null ? "" : whole.format(value));
  const seconds = (value) =>
    value == null ? "" : value < 100 ? value.toFixed(2) : whole.format(Math.round(value));
  const by = (id) => document.getElementById(id);

  function make(tag, options = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(options)) {
      if (name === "onclick") node.addEventListener("click", value);
      else if (name === "text") node.textContent = value;
      else node.setAttribute(name, value);
    }
    node.append(...children);
    return node;
  }

  const COLUMNS = [
    { key: "name", label: "Name", value: (job) => job[NAME] },
    { key: "state", label: "State", value: (job) => data.state_names[job[STATE]] },
    { key: "rows", label: "Rows", value: (job) => job[ROWS], show: number },
    { key: "bad", label: "Bad rows", value: (job) => job[BAD], show: number },
    { key: "seconds", label: "Seconds", value: (job) => job[SECONDS], show: seconds },
    { key: "start", label: "Begun at", value: (job) => job[START], show: (value) => clock(value) },
    { key: "message", label: "Error or note", value: (job) => message(job) },
  ];

  function clock(offset) {
    if (offset == null) return "";
    return new Date(data.origin + offset * 1000).toTimeString().slice(0, 8);
  }
  function message(job) {
    const error = data.errors[job[ERROR]];
    return error ? (error[0] ? error[0] + ": " : "") + error[1] : "";
  }

  // What is shown: kept in the address, so that it can be sent to somebody.
  const view = { q: "", state: "", sort: "", job: "" };
  function readAddress() {
    const asked = new URLSearchParams(location.hash.slice(1));
    for (const name of Object.keys(view)) view[name] = asked.get(name) ?? "";
  }
  function writeAddress() {
    const asked = new URLSearchParams(Object.entries(view).filter(([, value]) => value));
    history.replaceState(null, "", "#" + asked);
  }
  function change(changes) {
    Object.assign(view, changes);
    writeAddress();
    select();
  }

  const searchable = data.jobs.map((job) => `${job[NAME]} ${message(job)}`.toLowerCase());
  let shown = [];

  function select() {
    const words = view.q.toLowerCase().split(/\s+/).filter(Boolean);
    const state = data.state_names.indexOf(view.state);
    shown = [];
    data.jobs.forEach((job, index) => {
      if (state >= 0 && job[STATE] !== state) return;
      if (words.every((word) => searchable[index].includes(word))) shown.push(index);
    });
    const column = COLUMNS.find((one) => one.key === view.sort.replace("-", ""));
    if (column) {
      const sign = view.sort.startsWith("-") ? -1 : 1;
      const keys = new Map(shown.map((index) => [index, column.value(data.jobs[index])]));
      shown.sort((one, other) => {
        const [a, b] = [keys.get(one), keys.get(other)];
        if (a == null || b == null) return (a == null) - (b == null);
        return a < b ? -sign : a > b ? sign : one - other;
      });
    }
    by("shown").textContent = `${number(shown.length)} of ${number(data.jobs.length)} jobs`;
    by("space").style.height = `${shown.length * ROW_HEIGHT}px`;
    by("table").setAttribute("aria-rowcount", shown.length + 1);
    if (by("search").value !== view.q) by("search").value = view.q;
    drawHead();
    drawStates();
    drawRows();
    drawDetails();
  }

  function drawHead() {
    by("head").replaceChildren(...COLUMNS.map((column) => {
      const sorted = view.sort.replace("-", "") === column.key;
      const up = sorted && !view.sort.startsWith("-");
      const next = sorted ? (up ? "-" + column.key : "") : column.key;
      return make(
        "div",
        {
          role: "columnheader",
          class: column.show ? "number" : "",
          "aria-sort": sorted ? (up ? "ascending" : "descending") : "none",
        },
        make("button", {
          "data-sort": column.key,
          text: column.label + (sorted ? (up ? " ↑" : " ↓") : ""),
          onclick: () => {
            change({ sort: next });
            document.querySelector(`[data-sort="${column.key}"]`).focus();
          },
        }),
      );
    }));
  }

  function drawStates() {
    const buttons = data.state_names.map((name, index) => [name, data.state_counts[index]])
      .filter(([, count]) => count)
      .map(([name, count]) => make("button", {
        "data-state": name,
        "aria-pressed": String(view.state === name),
        text: `${name} ${number(count)}`,
        onclick: () => {
          change({ state: view.state === name ? "" : name });
          document.querySelector(`[data-state="${name}"]`).focus();
        },
      }));
    by("states").replaceChildren(...buttons);
  }

  function drawRows() {
    const table = by("table");
    const first = Math.max(0, Math.floor(table.scrollTop / ROW_HEIGHT) - 10);
    const last = Math.min(shown.length, first + Math.ceil(table.clientHeight / ROW_HEIGHT) + 20);
    const rows = [];
    for (let place = first; place < last; place++) {
      const job = data.jobs[shown[place]];
      const row = make("div", {
        role: "row",
        id: `row-${place}`,
        "aria-rowindex": place + 2,
        "aria-selected": String(job[NAME] === view.job),
        onclick: () => change({ job: view.job === job[NAME] ? "" : job[NAME] }),
      });
      for (const column of COLUMNS) {
        const value = column.value(job);
        const kind = column.key === "state" ? ` state-${KINDS[value]}` : "";
        const text = column.show ? column.show(value) : value;
        row.append(make("div", {
          role: "gridcell", class: (column.show ? "number" : "") + kind, text, title: text,
        }));
      }
      rows.push(row);
    }
    by("rows").style.top = `${first * ROW_HEIGHT}px`;
    by("rows").replaceChildren(...rows);
  }

  function moveTo(place) {
    if (!shown.length) return;
    const bounded = Math.min(Math.max(place, 0), shown.length - 1);
    const table = by("table");
    const top = bounded * ROW_HEIGHT;
    const room = table.clientHeight - by("head").offsetHeight - ROW_HEIGHT;
    if (top < table.scrollTop) table.scrollTop = top;
    else if (top > table.scrollTop + room) table.scrollTop = top - room;
    change({ job: data.jobs[shown[bounded]][NAME] });
    table.setAttribute("aria-activedescendant", `row-${bounded}`);
  }

  function onKey(event) {
    const place = shown.findIndex((index) => data.jobs[index][NAME] === view.job);
    const page = Math.floor(by("table").clientHeight / ROW_HEIGHT) - 1;
    const target = {
      ArrowDown: place + 1, ArrowUp: place - 1, PageDown: place + page, PageUp: place - page,
      Home: 0, End: shown.length - 1,
    }[event.key];
    if (target === undefined || event.target.tagName === "BUTTON") return;
    event.preventDefault();
    moveTo(target);
  }

  function drawDetails() {
    const job = view.job && data.jobs.find((one) => one[NAME] === view.job);
    by("details").hidden = !job;
    if (!job) return;
    const facts = [
      ["State", data.state_names[job[STATE]]],
      ["Job", data.job_prefix + job[HASH]],
      ["Input", `${number(job[FILES])} files, ${number(job[BYTES])} bytes`],
      ["Rows", job[ROWS] == null ? "" : `${number(job[ROWS])}, ${number(job[BAD])} of them bad`],
      ["Time", job[START] == null ? "" : `${clock(job[START])} to ${clock(job[END])}`],
      ["Seconds", job[SECONDS] == null ? "" : phasesOf(job)],
      ["Attempts", number(job[TRIES])],
      ["Error", message(job)],
    ].filter(([, value]) => value);
    const list = make("dl");
    for (const [name, value] of facts) {
      list.append(make("dt", { text: name }), make("dd", { text: value }));
    }
    const nodes = [make("h3", { text: job[NAME] }), list];
    if (data.log_address) {
      const address = data.log_address.replace("{job_id}", data.job_prefix + job[HASH]);
      nodes.push(make("a", { href: address, rel: "noreferrer", text: "Log" }));
    }
    by("details").replaceChildren(...nodes);
  }

  function phasesOf(job) {
    const phases = (job[PHASES] || [])
      .map((value, index) => (value ? `${data.phases[index]} ${seconds(value)}` : ""))
      .filter(Boolean);
    return seconds(job[SECONDS]) + (phases.length ? `: ${phases.join(", ")}` : "");
  }

  const filterButton = (text, changes) => make("button", {
    class: "link",
    text,
    onclick: () => {
      change({ q: "", state: "", ...changes });
      by("table").scrollIntoView();
    },
  });

  function drawMissing() {
    const cards = [];
    for (const cause of data.failures) {
      cards.push(make(
        "div",
        { class: "card cause" },
        make("span", { class: "count state-bad", text: number(cause.count) }),
        make("h3", { text: cause.reason || "failed" }),
        make("p", { text: cause.message }),
        make("p", {}, "First: ", filterButton(cause.names[0], { q: cause.names[0] })),
        make("pre", {}, make("code", { text: cause.command })),
      ));
    }
    for (const name of ["missing model", "no input", "never ran"]) {
      const state = data.state_names.indexOf(name);
      const names = data.jobs.filter((job) => job[STATE] === state).map((job) => job[NAME]);
      if (!names.length || (name === "never ran" && !data.complete)) continue;
      cards.push(make(
        "div",
        { class: "card" },
        make("span", { class: `count state-${KINDS[name]}`, text: number(names.length) }),
        make("h3", { text: name }),
        make("p", { text: names.slice(0, 12).join(", ") + (names.length > 12 ? ", …" : "") }),
        filterButton("show them", { state: name }),
      ));
    }
    if (cards.length) by("missing").append(make("h2", { text: "Not done" }), ...cards);
  }

  function drawCompared() {
    const slowest = data.jobs.filter((job) => job[SECONDS] != null)
      .sort((one, other) => other[SECONDS] - one[SECONDS]).slice(0, 10)
      .map((job) => [job[NAME], `${seconds(job[SECONDS])} s`]);
    const lists = slowest.length ? [["Slowest", slowest, slowest.length]] : [];
    const bad = data.jobs.filter((job) => job[BAD]).sort((one, other) => other[BAD] - one[BAD]);
    if (bad.length) {
      const worst = bad.slice(0, 10).map((job) => [job[NAME], number(job[BAD])]);
      lists.push(["Bad rows", worst, bad.length]);
    }
    const change = (one) => [one.name, `${number(one.before)} → ${number(one.now)}`];
    const states = (one) => [one.name, `${one.before} → ${one.now}`];
    const titles = {
      newly_bad: ["Newly not done", states], mended: ["Mended", states],
      no_input_now: ["No input any more", states], new: ["New", (one) => [one.name, ""]],
      gone: ["Gone", (one) => [one.name, ""]], slower: ["Slower, in seconds", change],
      rows_changed: ["Row counts changed by more than half", change],
    };
    for (const [key, [title, show]] of Object.entries(titles)) {
      const found = data.compared_with?.[key] ?? [];
      if (found.length) lists.push([title, found.slice(0, 10).map(show), found.length]);
    }
    const against = data.compared_with ? `Beside ${data.compared_with.run}` : "Slowest";
    if (!lists.length && !data.compared_with) return;
    const cards = lists.map(([title, entries, count]) => make(
      "div",
      { class: "card" },
      make("span", { class: "count", text: number(count) }),
      make("h3", { text: title }),
      make("ul", {}, ...entries.map(([name, note]) =>
        make("li", {}, filterButton(name, { q: name }), note ? ` ${note}` : ""))),
    ));
    by("compared").append(
      make("h2", { text: against }),
      cards.length ? make("div", { class: "lists" }, ...cards)
        : make("p", { class: "quiet", text: "Nothing differs." }),
    );
  }

  // How many jobs ran at a time; failures are marked below.
  function drawTimeline() {
    const ran = data.jobs.filter((job) => job[START] != null);
    if (!ran.length) {
      by("timeline").hidden = true;
      by("timeline-words").textContent = "No job has begun.";
      return;
    }
    const canvas = by("timeline");
    const end = ran.reduce((most, job) => Math.max(most, job[END] ?? job[START]), 1);
    const width = canvas.clientWidth || 1100;
    const scale = window.devicePixelRatio || 1;
    canvas.width = width * scale;
    canvas.height = 72 * scale;
    const buckets = new Float64Array(Math.max(50, Math.floor(width / 4)));
    const bad = new Uint32Array(buckets.length);
    const place = (second) => Math.min(buckets.length - 1, Math.floor((second / end) * buckets.length));
    for (const job of ran) {
      const stop = job[END] ?? end;
      for (let at = place(job[START]); at <= place(stop); at++) {
        const from = Math.max(job[START], (at * end) / buckets.length);
        const to = Math.min(stop, ((at + 1) * end) / buckets.length);
        buckets[at] += (Math.max(to - from, 0) * buckets.length) / end;
      }
      if (KINDS[data.state_names[job[STATE]]] === "bad") bad[place(stop)]++;
    }
    const most = buckets.reduce((one, other) => Math.max(one, other), 0.001);
    const probe = make("span", { class: "state-good" });
    document.body.append(probe);
    const good = getComputedStyle(probe).color;
    probe.className = "state-bad";
    const red = getComputedStyle(probe).color;
    probe.remove();
    const pen = canvas.getContext("2d");
    pen.scale(scale, scale);
    const step = width / buckets.length;
    buckets.forEach((count, at) => {
      const height = (count / most) * 60;
      pen.fillStyle = good;
      pen.fillRect(at * step, 62 - height, Math.max(step - 1, 1), height);
      if (bad[at]) {
        pen.fillStyle = red;
        pen.fillRect(at * step, 64, Math.max(step - 1, 1), 8);
      }
    });
    const words = `${clock(0)} to ${clock(end)}, at most ${Math.round(most) || 1} jobs at a time`
      + `; ${number(data.rows)} rows in ${seconds(data.seconds)} seconds of jobs`;
    by("timeline-words").textContent = words;
    canvas.setAttribute("aria-label", words);
  }

  readAddress();
  drawMissing();
  drawCompared();
  select();
  drawTimeline();
  let waiting = false;
  by("table").addEventListener("scroll", () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      drawRows();
    });
  }, { passive: true });
  by("table").addEventListener("keydown", onKey);
  by("search").addEventListener("input", (event) => change({ q: event.target.value }));
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && document.activeElement !== by("search")) {
      event.preventDefault();
      by("search").focus();
    }
    if (event.key === "Escape" && document.activeElement === by("search")) change({ q: "" });
  });
  addEventListener("hashchange", () => {
    readAddress();
    select();
  });
  addEventListener("resize", () => {
    drawRows();
    drawTimeline();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawTimeline);
})();
